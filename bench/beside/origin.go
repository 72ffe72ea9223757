package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// pace is how fast the origin is.
type pace struct {
	Delay time.Duration // before the first byte
	Rate  int64         // bytes a second, of each answer; 0: any number
}

// counts are what the origin has done since it was told its pace.
type counts struct {
	Requests, Bytes, Open int64
}

// origin has all objects. It is a process of its own, so that what it takes is not
// the client's.
type origin struct {
	mu     sync.Mutex
	pace   pace
	counts counts
}

// serveOrigin is what the process does. It says where it listens, and ends with the
// context.
func serveOrigin(ctx context.Context, out io.Writer) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	o, mux := new(origin), http.NewServeMux()
	mux.HandleFunc("POST /pace", o.setPace)
	mux.HandleFunc("GET /counts", o.getCounts)
	mux.HandleFunc("GET /", o.serve)
	s := &http.Server{Handler: mux, IdleTimeout: time.Hour, ReadHeaderTimeout: time.Hour}
	context.AfterFunc(ctx, func() { s.Close() })
	fmt.Fprintf(out, "listening on %s\n", l.Addr())
	if err := s.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

// setPace also starts to count from zero.
func (o *origin) setPace(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := json.NewDecoder(r.Body).Decode(&o.pace); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	o.counts = counts{Open: o.counts.Open}
}

func (o *origin) getCounts(w http.ResponseWriter, _ *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = json.NewEncoder(w).Encode(o.counts) // the client has left
}

func (o *origin) serve(w http.ResponseWriter, r *http.Request) {
	object, ok := lookUp(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	o.mu.Lock()
	p := o.pace
	o.counts.Requests++
	o.counts.Open++
	o.mu.Unlock()
	sent := &paced{ResponseWriter: w, pace: p}
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.counts.Open--
		o.counts.Bytes += sent.n
	}()
	select {
	case <-time.After(p.Delay):
	case <-r.Context().Done():
		return
	}
	h := w.Header()
	h.Set("Content-Type", object.contentType)
	h.Set("Etag", fmt.Sprintf(`"%x"`, object.start))
	h.Set("Cache-Control", "public, max-age=86400")
	http.ServeContent(sent, r, "", modified, io.NewSectionReader(object, 0, object.size))
}

var modified = time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)

// paced sends as fast as the origin is to be, and counts the bytes.
type paced struct {
	http.ResponseWriter

	pace  pace
	start time.Time
	n     int64
}

func (p *paced) Write(b []byte) (written int, err error) {
	if p.pace.Rate == 0 {
		written, err = p.ResponseWriter.Write(b)
		p.n += int64(written)
		return written, err
	}
	if p.start.IsZero() {
		p.start = time.Now()
	}
	step := int(p.pace.Rate / 100) // what goes in 10 ms
	for written < len(b) && err == nil {
		var n int
		n, err = p.ResponseWriter.Write(b[written:min(written+step, len(b))])
		written, p.n = written+n, p.n+int64(n)
		if err == nil {
			err = http.NewResponseController(p.ResponseWriter).Flush()
		}
		took := time.Duration(float64(p.n) / float64(p.pace.Rate) * float64(time.Second))
		time.Sleep(time.Until(p.start.Add(took)))
	}
	return written, err
}

// upstream is the origin, as others see it: a host and a port.
type upstream string

// set tells the origin its pace.
func (u upstream) set(ctx context.Context, p pace) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	_, err = u.ask(ctx, http.MethodPost, "/pace", b)
	return err
}

// counted returns what the origin has done, once it has nothing more to do: a cache may go
// on when its clients have left, and ask for the next part of something.
func (u upstream) counted(ctx context.Context) (counts, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for quiet := 0; ; {
		b, err := u.ask(ctx, http.MethodGet, "/counts", nil)
		if err != nil {
			return counts{}, err
		}
		var c counts
		if err := json.Unmarshal(b, &c); err != nil {
			return counts{}, err
		}
		if quiet++; c.Open > 0 {
			quiet = 0
		}
		if quiet == 3 {
			return c, nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return counts{}, ctx.Err()
		}
	}
}

func (u upstream) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+string(u)+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the origin: %s", resp.Status)
	}
	return io.ReadAll(resp.Body)
}
