package voyo_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Where the memory holds only a part of what is asked for, and the disk all of it,
// the upstream is left alone: whatever part is asked for, over whichever protocol.
func TestStreamsFromDisk(t *testing.T) {
	songs := newSongs(0, 16, 1<<20)
	for _, c := range []struct {
		name, proto string
		tls, h2     bool
	}{
		{name: "HTTP/1.1", proto: "HTTP/1.1"}, // where the kernel copies
		{name: "HTTP/1.1 over TLS", proto: "HTTP/1.1", tls: true},
		{name: "HTTP/2", proto: "HTTP/2.0", tls: true, h2: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newArchive(t, songs...)
			site := fmt.Sprintf("voyo {\n%s\nstream {\nmemory 1MiB\nslice 64KiB\ndisk %s 64MiB\n}\n}", template(a.URL), t.TempDir())
			var n node
			if c.tls {
				n = startSecure(t, site, c.h2).node
			} else {
				n = startEdge(t, site).node
			}
			n.store(t, songs)
			if got := n.request(t, http.MethodGet, "/health", nil).Proto; got != c.proto {
				t.Fatalf("this is %s", got)
			}
			a.reset()
			for range 2 {
				for _, s := range songs {
					if err := n.hearInManyWays(t.Context(), s); err != nil {
						t.Fatal(err)
					}
				}
				if hits := n.mustHearAll(t, songs, 8); hits != len(songs) {
					t.Errorf("%d hits of %d", hits, len(songs))
				}
			}
			a.mustRest(t)
		})
	}
}

// hearInManyWays asks for parts of a song in all forms that there are, all of which
// must come out of the cache.
func (n node) hearInManyWays(ctx context.Context, s song) error {
	const slice = 64 << 10
	size := s.size
	for _, p := range []struct {
		rng        string
		start, end int64
	}{
		{"", 0, size},
		{"bytes=0-", 0, size},
		{"bytes=0-1", 0, 2},
		{fmt.Sprintf("bytes=%d-%d", slice-1, slice), slice - 1, slice + 1},
		{fmt.Sprintf("bytes=%d-%d", slice, 2*slice-1), slice, 2 * slice},
		{fmt.Sprintf("bytes=%d-%d", 3*slice+5, 9*slice+6), 3*slice + 5, 9*slice + 7},
		{fmt.Sprintf("bytes=%d-", size-100_000), size - 100_000, size},
		{"bytes=-1", size - 1, size},
		{fmt.Sprintf("bytes=-%d", 2*size), 0, size},
		{fmt.Sprintf("bytes=%d-%d", size-1, size+5), size - 1, size},
	} {
		h, err := n.hearPart(ctx, s, p.start, p.end, p.rng)
		if err != nil {
			return err
		}
		if !h.hit() {
			return fmt.Errorf("track %s, %q: %s", s.id, p.rng, h.header.Get("Cache-Status"))
		}
	}
	return errors.Join(
		n.hearParts(ctx, s, 10, 20, slice-5, slice+5, size-300_000, size),
		n.answers(ctx, s, http.StatusOK, http.MethodHead),
		n.answers(ctx, s, http.StatusOK, http.MethodHead, "Range", "bytes=5-6"),
		n.answers(ctx, s, http.StatusNotModified, http.MethodGet, "If-None-Match", `"`+s.id+`"`),
		n.answers(ctx, s, http.StatusRequestedRangeNotSatisfiable, http.MethodGet, "Range", fmt.Sprintf("bytes=%d-", size)),
	)
}

// answers checks an answer that has nothing of the song.
func (n node) answers(ctx context.Context, s song, status int, method string, fields ...string) error {
	r, err := http.NewRequestWithContext(ctx, method, n.url+s.path(), nil)
	if err != nil {
		return err
	}
	r.Header = with(fields...)
	resp, err := n.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status || len(body) > 100 {
		return fmt.Errorf("%s %s %v: got %s, %d bytes, %w", method, s.path(), fields, resp.Status, len(body), err)
	}
	if got := resp.Header.Get("Cache-Status"); !strings.HasPrefix(got, "voyo; hit") {
		return fmt.Errorf("%s %s %v: %s: %q", method, s.path(), fields, resp.Status, got)
	}
	if method == http.MethodHead && resp.ContentLength != s.size {
		return fmt.Errorf("HEAD: Content-Length is %d, not %d", resp.ContentLength, s.size)
	}
	return nil
}

// hearParts asks for several ranges at once, given by their starts and ends.
func (n node) hearParts(ctx context.Context, s song, bounds ...int64) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+s.path(), nil)
	if err != nil {
		return err
	}
	var specs []string
	for i := 0; i < len(bounds); i += 2 {
		specs = append(specs, fmt.Sprintf("%d-%d", bounds[i], bounds[i+1]-1))
	}
	r.Header.Set("Range", "bytes="+strings.Join(specs, ","))
	resp, err := n.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	kind, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || resp.StatusCode != http.StatusPartialContent || kind != "multipart/byteranges" {
		return fmt.Errorf("several ranges: got %s, %s, %w", resp.Status, kind, err)
	}
	if got := resp.Header.Get("Cache-Status"); !strings.HasPrefix(got, "voyo; hit") {
		return fmt.Errorf("several ranges: %q", got)
	}
	parts := multipart.NewReader(resp.Body, params["boundary"])
	for i := 0; i < len(bounds); i += 2 {
		part, err := parts.NextPart()
		if err != nil {
			return err
		}
		start, end := bounds[i], bounds[i+1]
		if got, want := part.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/%d", start, end-1, s.size); got != want {
			return fmt.Errorf("part with Content-Range %q, want %q", got, want)
		}
		if _, err := s.verify(part, start, end); err != nil {
			return err
		}
	}
	if _, err := parts.NextPart(); err != io.EOF {
		return fmt.Errorf("after the last part: %w", err)
	}
	return nil
}

// startSecure starts Caddy with a site that is served over TLS, to a client of HTTP/2 or
// of HTTP/1.1 alone.
func startSecure(t *testing.T, site string, h2 bool) *edge {
	t.Helper()
	cert, key, pool := newCertificate(t)
	e := newEdge(t)
	config := string(e.adapt(t, fmt.Sprintf("tls %s %s\n%s", cert, key, site)))
	// HTTP/3 can't be had on a port that the test holds
	must(t, e.loadJSON(t, []byte(strings.Replace(config, `"listen":`, `"protocols":["h1","h2"],"listen":`, 1))))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: h2, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	e.node = node{"https://127.0.0.1:" + e.port, &http.Client{Transport: transport}}
	return e
}

// newCertificate returns the paths of a certificate for the loopback interface and
// its key, and a pool that trusts it.
func newCertificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		var text bytes.Buffer
		must(t, pem.Encode(&text, &pem.Block{Type: kind, Bytes: der}))
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, text.Bytes(), 0o600))
		return path
	}
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	pool = x509.NewCertPool()
	pool.AddCert(cert)
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "EC PRIVATE KEY", keyDER), pool
}
