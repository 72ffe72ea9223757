package voyo_test

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// browser is a Chromium with a page of ours.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu      sync.Mutex
	answers []string // status and range, of answers with media
}

// elsewhere is a host that browsers do not trust as they trust localhost.
const elsewhere = "elsewhere.test"

// startBrowser starts a Chromium that knows nothing yet.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	dir := t.TempDir()
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(tool(t, "chromium", "chromium-browser", "google-chrome")),
		chromedp.Env("HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_CACHE_HOME="+dir),
		chromedp.CombinedOutput(t.Output()),
		chromedp.WSURLReadTimeout(patience),
		chromedp.NoFirstRun,
		chromedp.NoDefaultBrowserCheck,
		chromedp.NoSandbox,
		chromedp.DisableGPU,
	}
	for _, flag := range []string{
		"headless", "mute-audio", "disable-quic", "disable-background-networking", "disable-component-update",
		"disable-sync", "disable-default-apps", "disable-extensions", "disable-dev-shm-usage", "metrics-recording-only",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	options = append(options,
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
		chromedp.Flag("host-resolver-rules", "MAP "+elsewhere+" 127.0.0.1"))

	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithErrorf(t.Logf))
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, b.note); err != nil {
		t.Fatalf("chromium: %v", err)
	}
	return b
}

// note takes note of what the page was answered.
func (b *browser) note(event any) {
	e, ok := event.(*network.EventResponseReceived)
	if !ok || e.Type != network.ResourceTypeMedia {
		return
	}
	part, _ := e.Response.Headers["Content-Range"].(string)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers = append(b.answers, fmt.Sprintf("%d %s", e.Response.Status, part))
}

// open opens a page.
func (b *browser) open(url string) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, chromedp.Navigate(url)); err != nil {
		b.t.Fatalf("opening %s: %v", url, err)
	}
}

// call calls one of the page's functions and waits for its result.
func call[T any](b *browser, function, url string) (T, error) {
	return chromedp.Run(b.ctx, chromedp.Evaluate[T](fmt.Sprintf("%s(%q)", function, url), chromedp.EvalAwaitPromise))
}

// newSite serves the pages of the test, at an origin of its own.
func newSite(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.FileServer(http.Dir(repositoryFile(t, "testdata/browser"))))
	t.Cleanup(s.Close)
	return s.URL
}

func TestBrowser(t *testing.T) {
	files := http.FileServer(http.Dir(repositoryFile(t, "testdata/demo")))
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".opus") {
			w.Header().Set("Content-Type", "audio/ogg")
		}
		files.ServeHTTP(w, r)
	})
	allowed, foreign := newSite(t), newSite(t)
	e := startEdge(t, fmt.Sprintf(`voyo {
		resolver template {
			audio %s/{http.voyo.bitrate}/{http.voyo.id}.opus
			art %[1]s/art/{http.voyo.id}/{http.voyo.image}.jpg
		}
		allowed_origins %s
	}`, o.URL, allowed))
	stream, art := e.url+"/cdn/stream/"+songVOYO, e.url+"/cdn/art/"+songVOYO+"?quality=max"
	b := startBrowser(t)

	t.Run("allowed page", func(t *testing.T) {
		b.open(allowed + "/player.html")
		b.checkPlayed(t, stream)
		b.checkRange(t, stream)
		picture, err := call[struct{ Width, Height, Colors int }](b, "cover", art)
		if err != nil {
			t.Fatalf("cover: %v", err)
		}
		if picture.Width != 1280 || picture.Height != 720 || picture.Colors < 100 {
			t.Errorf("cover: %+v", picture)
		}
	})
	t.Run("foreign page", func(t *testing.T) {
		b.open(foreign + "/player.html")
		for _, c := range []struct{ function, url, want string }{
			{"play", stream, "media error 4"}, // MEDIA_ERR_SRC_NOT_SUPPORTED
			{"range", stream, "Failed to fetch"},
			{"cover", art, "error event"},
			{"taintedCover", art, "tainted"}, // it may be shown, but not read
		} {
			if result, err := call[any](b, c.function, c.url); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %v, %v, want %s", c.function, result, err, c.want)
			}
		}
	})
}

// checkPlayed plays a track of the demo, of three minutes.
func (b *browser) checkPlayed(t *testing.T, url string) {
	t.Helper()
	began := time.Now()
	played, err := call[struct{ Duration, Began, Sought, Landed, WentOn float64 }](b, "play", url)
	if err != nil {
		t.Fatalf("play: %v", err)
	}
	if played.Duration < 180 || played.Began <= 0 || math.Abs(played.Landed-played.Sought) > 0.1 || played.WentOn <= played.Sought {
		t.Errorf("play: %+v", played)
	}
	// it did not play all that lies between
	if took := time.Since(began); took.Seconds() > played.Sought/2 {
		t.Errorf("play took %s", took)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	sought := false
	for _, a := range b.answers {
		var begin, end, size int
		if _, err := fmt.Sscanf(a, "206 bytes %d-%d/%d", &begin, &end, &size); err != nil {
			t.Errorf("the browser was answered %s", a)
		}
		sought = sought || begin > size*3/4
	}
	if !sought {
		t.Errorf("the browser did not ask for the last quarter: it was answered %q", b.answers)
	}
}

// checkRange has the page itself ask for a range, which takes a preflight.
func (b *browser) checkRange(t *testing.T, url string) {
	t.Helper()
	got, err := call[struct {
		Status, Bytes                   int
		ContentRange, Etag, CacheStatus string
	}](b, "range", url)
	if err != nil {
		t.Fatalf("range: %v", err)
	}
	if got.Status != http.StatusPartialContent || got.Bytes != 100 || !strings.HasPrefix(got.ContentRange, "bytes 100-199/") ||
		got.Etag != "" || !strings.HasPrefix(got.CacheStatus, "voyo; ") {
		t.Errorf("range: %+v", got)
	}
}
