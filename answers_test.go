package voyo

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/voyo-music/caddy-voyo/resolver"
)

func TestLocation(t *testing.T) {
	for _, c := range []struct {
		target, public string
		tls            bool
		want           location
	}{
		{
			"http://edge.example:8080/stream?v=" + testID + "&type=video&quality=medium", "", false,
			location{
				URL:      "http://edge.example:8080/cdn/stream/" + testVOYO + "?type=video&quality=medium",
				AudioURL: "http://edge.example:8080/cdn/stream/" + testVOYO + "?type=audio&quality=medium",
				VideoID:  testID, Type: "video", Quality: "medium", Boosting: true, Source: "origin",
			},
		},
		{
			"https://edge.example/stream?v=" + testVOYO + "&quality=<script>", "", true,
			location{
				URL:      "https://edge.example/cdn/stream/" + testVOYO + "?type=audio&quality=high",
				AudioURL: "https://edge.example/cdn/stream/" + testVOYO + "?type=audio&quality=high",
				VideoID:  testVOYO, Type: "audio", Quality: "high", Boosting: true, Source: "origin",
			},
		},
		{
			"http://127.0.0.1/stream?v=" + testVOYO + "&quality=low", "https://cdn.voyo.example/edge/", false,
			location{
				URL:      "https://cdn.voyo.example/edge/cdn/stream/" + testVOYO + "?type=audio&quality=low",
				AudioURL: "https://cdn.voyo.example/edge/cdn/stream/" + testVOYO + "?type=audio&quality=low",
				VideoID:  testVOYO, Type: "audio", Quality: "low", Boosting: true, Source: "origin",
			},
		},
	} {
		h := newTestHandler(t, at("https://upstream.example/x.opus"))
		h.client = roundTripper(func(r *http.Request) (*http.Response, error) { // so that it is being warmed all the time
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		if c.public != "" {
			u, err := url.Parse(c.public)
			if err != nil {
				t.Fatal(err)
			}
			h.publicURL = u
		}
		for _, boosting := range []bool{true, false} {
			r := newTestRequest("GET", c.target, nil)
			r.TLS = nil
			if c.tls {
				r.TLS = new(tls.ConnectionState)
			}
			w := httptest.NewRecorder()
			if err := serveRequest(h, w, r); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(w.Body.String(), `\u0026`) || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("got %v %s", w.Header(), w.Body)
			}
			var got location
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			c.want.Boosting = boosting // by the first request only
			if w.Code != 200 || got != c.want {
				t.Errorf("%s:\n got %d %+v\nwant %+v", c.target, w.Code, got, c.want)
			}
		}
	}
}

func TestExists(t *testing.T) {
	sizes := map[string]int{"/128": 2000, "/64": 1000}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "bytes=0-0" {
			t.Errorf("%s: Range is %q", r.URL.Path, r.Header.Get("Range"))
		}
		switch r.URL.RawQuery {
		case "missing":
			w.WriteHeader(http.StatusNotFound)
			return
		case "broken":
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case "norange":
			r.Header.Del("Range")
		}
		http.ServeContent(w, r, "song.mp3", time.Time{}, bytes.NewReader(make([]byte, sizes[r.URL.Path])))
	}))
	defer srv.Close()
	const broken = `{"error":"VOYO stream temporarily unavailable"}`
	for _, c := range []struct {
		high, low string
		status    int
		want      string
	}{
		{"/128", "/64", 200, `{"exists":true,"high":true,"low":true,"size":2000,"source":"origin"}`},
		{"/128?norange", "/64", 200, `{"exists":true,"high":true,"low":true,"size":2000,"source":"origin"}`},
		{"/128", "/64?missing", 200, `{"exists":true,"high":true,"low":false,"size":2000,"source":"origin"}`},
		{"/128?missing", "/64", 200, `{"exists":true,"high":false,"low":true,"size":1000,"source":"origin"}`},
		{"/128?missing", "/64?missing", 200, `{"exists":false,"high":false,"low":false,"size":0,"source":"origin"}`},
		{"/empty", "/64?missing", 200, `{"exists":false,"high":false,"low":false,"size":0,"source":"origin"}`},
		{"/128?broken", "/64", 200, `{"exists":true,"high":false,"low":true,"size":1000,"source":"origin"}`},
		{"/128?broken", "/64?missing", 502, broken},
		{"/128?broken", "/64?broken", 502, broken},
	} {
		h := newTestHandler(t, resolverFunc(func(a resolver.Asset) (*resolver.Answer, error) {
			if a.Bitrate == resolver.LowBitrate {
				return &resolver.Answer{Targets: targets(srv.URL + c.low)}, nil
			}
			return &resolver.Answer{Targets: targets(srv.URL + c.high)}, nil
		}))
		w := serve(t, h, "GET", "/exists/"+testVOYO, nil)
		if got := strings.TrimSpace(w.Body.String()); w.Code != c.status || got != c.want {
			t.Errorf("%s and %s: got %d %s", c.high, c.low, w.Code, got)
		}
		head := serve(t, h, "HEAD", "/exists/"+testVOYO, nil)
		if head.Code != c.status || head.Body.Len() > 0 || head.Header().Get("Content-Length") != w.Header().Get("Content-Length") {
			t.Errorf("%s and %s: HEAD got %d %v", c.high, c.low, head.Code, head.Header())
		}
	}
}

// However many ask at a time, and whoever of them leaves, upstreams are asked once.
func TestExistsIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var asked atomic.Int32
		h := newTestHandler(t, at("https://upstream.example"))
		h.client = roundTripper(func(r *http.Request) (*http.Response, error) {
			asked.Add(1)
			select {
			case <-release:
				return &http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody}, nil
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		})
		// the first one leaves, the others wait
		first, leave := context.WithCancel(t.Context())
		answers := make(chan int, 4)
		for i := range 4 {
			r := newTestRequest("GET", "/exists/"+testID, nil)
			if i == 0 {
				r = r.WithContext(withReplacer(first))
			}
			go func() {
				w := httptest.NewRecorder()
				if serveRequest(h, w, r) != nil {
					w.Code = statusClientGone
				}
				answers <- w.Code
			}()
			synctest.Wait()
		}
		leave()
		if got := <-answers; got != statusClientGone {
			t.Errorf("the one who left got %d", got)
		}
		close(release)
		for range 3 {
			if got := <-answers; got != 200 {
				t.Errorf("got %d", got)
			}
		}
		if n := asked.Load(); n != 2 { // for each bitrate
			t.Errorf("asked %d times", n)
		}
	})
}

func TestPrefetch(t *testing.T) {
	fetched := make(chan string, 10)
	song := make([]byte, 3*warmHead)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetched <- r.URL.Path + " " + r.Header.Get("Range")
		if r.URL.Path != "/stream" {
			_, _ = w.Write(testPNG)
			return
		}
		w.Header().Set("Etag", `"1"`)
		http.ServeContent(w, r, "song.mp3", time.Time{}, bytes.NewReader(song))
	}))
	defer srv.Close()
	var lookups atomic.Int32
	h := newTestHandler(t, resolverFunc(func(a resolver.Asset) (*resolver.Answer, error) {
		if a.Kind == resolver.Stream {
			lookups.Add(1)
			return &resolver.Answer{Targets: targets(srv.URL + "/stream")}, nil
		}
		return &resolver.Answer{Targets: targets(srv.URL + "/" + a.Image)}, nil
	}))
	for i, message := range []string{"Track is being prepared", "Track is already prepared or being prepared"} {
		w := serve(t, h, "GET", "/prefetch?v="+testID+"&quality=low", nil)
		want := `{"status":"warming","videoId":"` + testID + `","message":"` + message + `"}`
		if got := strings.TrimSpace(w.Body.String()); w.Code != http.StatusAccepted || got != want {
			t.Errorf("%d: got %d %s", i, w.Code, got)
		}
	}
	h.state.warming.work.Wait()
	if head, cover := <-fetched, <-fetched; head != "/stream bytes=0-524287" || cover != "/hqdefault " || len(fetched) > 0 || lookups.Load() != 1 {
		t.Errorf("fetched %s, %s and %d more, with %d look-ups", head, cover, len(fetched), lookups.Load())
	}
	var where location
	if err := json.Unmarshal(serve(t, h, "GET", "/stream?quality=low&v="+testVOYO, nil).Body.Bytes(), &where); err != nil || !where.Cached || where.Boosting || where.Source != "edge" {
		t.Errorf("/stream says %+v, %v", where, err)
	}
	awaitArt(h, resolver.Asset{ID: testID, Kind: resolver.Art, Image: "hqdefault"})
	r := newTestRequest("GET", "/cdn/art/"+testVOYO, nil)
	w := httptest.NewRecorder()
	if err := serveRequest(h, w, r); err != nil || w.Code != 200 || placeholder(r, "cache") != "hit" {
		t.Errorf("got %v, %d, %s", err, w.Code, placeholder(r, "cache"))
	}
	var health struct {
		Cache struct {
			StreamCacheSize    int `json:"streamCacheSize"`
			ThumbnailCacheSize int `json:"thumbnailCacheSize"`
			PrefetchCacheSize  int `json:"prefetchCacheSize"`
			Stats              struct {
				PrefetchRequests int `json:"prefetchRequests"`
			} `json:"stats"`
		} `json:"cache"`
	}
	if err := json.Unmarshal(serve(t, h, "GET", "/health", nil).Body.Bytes(), &health); err != nil {
		t.Fatal(err)
	}
	if c := health.Cache; c.StreamCacheSize != 1 || c.ThumbnailCacheSize != 1 || c.PrefetchCacheSize != 1 || c.Stats.PrefetchRequests != 2 {
		t.Errorf("health says %+v", health)
	}
}

func TestPrefetchRefused(t *testing.T) {
	h := newTestHandler(t, found(nil))
	h.state.warming.Close()
	w := serve(t, h, "GET", "/prefetch?v="+testID, nil)
	if w.Code != http.StatusAccepted || !strings.Contains(w.Body.String(), `"status":"busy"`) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// A panic in the background ends nothing but the work that it is in.
func TestPanics(t *testing.T) {
	h := newTestHandler(t, at("https://upstream.example"))
	logs := observe(h)
	h.client = roundTripper(func(*http.Request) (*http.Response, error) { panic("secret") })
	for i, path := range []string{"/exists/", "/cdn/art/"} {
		if w := serve(t, h, "GET", path+testID, nil); w.Code != 502 || h.state.panics.Load() != int64(i+1) {
			t.Errorf("got %d %s, %d panics", w.Code, w.Body, h.state.panics.Load())
		}
	}
	if n := logs.FilterLevelExact(zapcore.ErrorLevel).Len(); n != 2 || strings.Contains(dump(t, logs), "secret") {
		t.Errorf("logged:\n%s", dump(t, logs))
	}
}

// What is warm is one stream of a track, and what has failed is not warm.
func TestWarmsAnew(t *testing.T) {
	h := newTestHandler(t, at("https://upstream.example/x.opus"))
	asked := 0
	h.client = roundTripper(func(*http.Request) (*http.Response, error) {
		asked++
		return nil, errors.New("down")
	})
	for i, target := range []string{"/prefetch?v=" + testID, "/prefetch?v=" + testID, "/stream?type=video&v=" + testID} {
		before := asked
		serve(t, h, "GET", target, nil)
		h.state.warming.work.Wait()
		if asked == before || h.state.warming.Len() != 0 {
			t.Errorf("%d: %d requests, %d marks", i, asked-before, h.state.warming.Len())
		}
	}
}

// A track that is here exists, whatever has become of its origin.
func TestExistsWhileUpstreamIsDown(t *testing.T) {
	down := false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Etag", `"1"`)
		http.ServeContent(w, r, "song.mp3", time.Time{}, bytes.NewReader(make([]byte, 1000)))
	}))
	defer srv.Close()
	h := newTestHandler(t, at(srv.URL+"/song.mp3"))
	serve(t, h, "GET", "/cdn/stream/"+testID, nil)
	down = true
	w := serve(t, h, "GET", "/exists/"+testID, nil)
	want := `{"exists":true,"high":true,"low":false,"size":1000,"source":"edge"}`
	if got := strings.TrimSpace(w.Body.String()); w.Code != 200 || got != want {
		t.Errorf("got %d %s", w.Code, got)
	}
}
