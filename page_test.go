package voyo_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// demoPage is the demo's page in a browser.
type demoPage struct {
	*browser

	mu     sync.Mutex
	errors []string // of its console
}

// row is one of the page's log.
type row struct{ URL, What, Status, Cache, Bytes, Upstream string }

// openPage opens the demo's page, and waits until it is ready.
func openPage(t *testing.T, url string) *demoPage {
	t.Helper()
	p := &demoPage{browser: startBrowser(t)}
	messages := chromedp.Console(p.ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.IsException() || m.Type == chromedp.ConsoleError {
				p.mu.Lock()
				p.errors = append(p.errors, m.Text+" "+m.URL)
				p.mu.Unlock()
			}
		}
	}()
	p.open(url)
	p.ready(t)
	return p
}

// ready waits for what the page shows of itself, and for the covers.
func (p *demoPage) ready(t *testing.T) {
	t.Helper()
	p.until(t, "the page is in the log", `rows.some((r) => r.url === "/" && r.status === "200")`)
	p.until(t, "the covers are there", `covers.length === 4 && covers.every((c) => c.complete && c.naturalWidth === 320)`)
}

// state makes what the page shows known to an expression.
const state = `(() => {
	const all = (selector) => [...document.querySelectorAll(selector)];
	const text = (row, name) => row.querySelector("." + name).textContent;
	const rows = all("#log tr").map((row) => ({
		url: row.dataset.url, what: text(row, "what"), status: text(row, "status"), cache: text(row, "cache"),
		bytes: text(row, "bytes"), upstream: text(row, "upstream"),
	}));
	const covers = all("#covers img"), slices = all("#slices .slice"), audio = document.getElementById("audio");
	return %s;
})()`

// until waits for what the page is to show.
func (p *demoPage) until(t *testing.T, what, condition string) {
	t.Helper()
	wait := chromedp.Poll[chromedp.Void](fmt.Sprintf(state, condition), chromedp.WithPollingTimeout(patience))
	if _, err := chromedp.Run(p.ctx, wait); err != nil {
		rows, _ := look[[]row](p, "rows")
		t.Fatalf("%s: %v: the log is %+v", what, err, rows)
	}
}

// look returns what the page shows.
func look[T any](p *demoPage, expression string) (T, error) {
	return chromedp.Run(p.ctx, chromedp.Evaluate[T](fmt.Sprintf(state, expression)))
}

func (p *demoPage) do(t *testing.T, what string, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(p.ctx, steps...); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func (p *demoPage) click(t *testing.T, selector string) {
	t.Helper()
	p.do(t, "click on "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// clickBar clicks into the bar, at a part of its length.
func (p *demoPage) clickBar(t *testing.T, part float64) {
	t.Helper()
	box, err := look[struct{ X, Y, Width, Height float64 }](p, `(() => {
		const seek = document.getElementById("seek");
		seek.scrollIntoView({block: "center"});
		return seek.getBoundingClientRect().toJSON();
	})()`)
	if err != nil {
		t.Fatal(err)
	}
	p.do(t, "click into the bar", chromedp.MouseClickXY(box.X+part*box.Width, box.Y+box.Height/2))
}

// hits returns the page's hit ratios, in percent.
func (p *demoPage) hits(t *testing.T) (requests, bytes int) {
	t.Helper()
	texts, err := look[[]string](p, `["hits", "hitBytes"].map((id) => document.getElementById(id).textContent)`)
	if err != nil {
		t.Fatal(err)
	}
	var percent [2]int
	for i, text := range texts {
		if percent[i], err = strconv.Atoi(strings.TrimSuffix(text, "%")); err != nil {
			t.Fatal(err)
		}
	}
	return percent[0], percent[1]
}

// finish checks the console, and leaves a picture of a page that has failed.
func (p *demoPage) finish(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.errors) > 0 {
		t.Errorf("the console has %q", p.errors)
	}
	if !t.Failed() {
		return
	}
	picture, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Logf("no picture of the page: %v", err)
		return
	}
	f, err := os.CreateTemp("", "voyo-page-*.png") //nolint:usetesting // it is to be looked at after the test
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(picture); err != nil {
		t.Fatal(err)
	}
	t.Logf("the page was %s", f.Name())
}

// streamed is a condition on a track's rows of the log, the first of which begins at
// the start of the track.
func streamed(id, cache string) string {
	return fmt.Sprintf(`rows.some((r) => r.url.startsWith(%q) && r.what === "stream 0-" && r.status === "206" && r.cache === %q)`,
		"/cdn/stream/"+id, cache)
}

// What the page proposes to try, and what it says to that.
func TestPage(t *testing.T) {
	d := startDemo(t, false)
	p := openPage(t, d.url+"/")
	defer p.finish(t)

	p.until(t, "covers are missed", `rows.filter((r) => r.what === "cover" && r.cache === "miss" && r.upstream.startsWith("resolve ")).length === 4`)

	p.clickBar(t, 0.5)
	p.click(t, "#part")
	p.until(t, "a part is missed", `rows.some((r) => /^stream 14\d{5}-15\d{5}$/.test(r.what) && r.status === "206" && r.cache === "miss" && r.bytes === "64.0 KiB")`)
	p.until(t, "its slice and one more are kept", `slices.map((s) => s.dataset.tier === "memory" ? "#" : ".").join("") === ".....##....."`)

	p.click(t, "#play")
	p.until(t, "it plays from the middle", `!audio.paused && audio.currentTime > 92.5`)
	p.until(t, "a part was kept", streamed(songVOYO, "partial"))
	p.until(t, "what is played is kept", `slices.length === 12 && slices.every((s, i) => s.dataset.tier === "memory" || i > 0 && i < 5)`)

	const other = "vyo_dm95by1kZW1vXzQ"
	p.click(t, "[data-track="+other+"]")
	p.until(t, "another track plays", `!audio.paused && audio.currentTime > 0.5 && audio.duration < 60`)
	p.until(t, "it is missed", streamed(other, "miss"))
	requests, bytes := p.hits(t)

	p.do(t, "reload", chromedp.Reload())
	p.ready(t)
	p.until(t, "covers are hits", `rows.filter((r) => r.what === "cover" && r.cache === "hit" && r.upstream === "").length === 4`)

	p.clickBar(t, 0.85)
	p.click(t, "#play")
	p.until(t, "it plays in the last quarter", `!audio.paused && audio.currentTime > 0.85 * audio.duration + 2`)
	p.until(t, "a range in the last quarter is a hit", `rows.some((r) => {
		const start = Number(/^stream (\d+)-$/.exec(r.what)?.[1]) / 2986845;
		return start > 0.75 && start < 0.95 && r.status === "206" && r.cache === "hit";
	})`)
	p.until(t, "so is the beginning", streamed(songVOYO, "hit"))
	p.click(t, "[data-track="+other+"]")
	p.until(t, "the other track is a hit", streamed(other, "hit"))
	if r, b := p.hits(t); r <= requests || b <= bytes {
		t.Errorf("hits: %d%% of requests and %d%% of bytes, and %d%% and %d%% before", r, b, requests, bytes)
	}
}

// On a phone, with the other quality chosen while a track plays that lacks it.
func TestPageQuality(t *testing.T) {
	d := startDemo(t, false)
	p := openPage(t, d.url+"/")
	defer p.finish(t)

	p.do(t, "a phone", chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile))
	p.until(t, "it fits on a phone", `document.documentElement.scrollWidth === innerWidth && innerWidth === 360`)
	p.click(t, `[data-track="vyo_dm95by1kZW1vXzM"]`)
	p.until(t, "it plays", `!audio.paused && audio.currentTime > 2`)
	p.do(t, "the low quality", chromedp.Evaluate[chromedp.Void](`(() => {
		const quality = document.getElementById("quality");
		quality.value = "low";
		quality.dispatchEvent(new Event("change"));
	})()`))
	p.until(t, "it plays on", `!audio.paused && audio.currentTime > 2 && audio.src.endsWith("low")`)
	p.until(t, "it is what there is", `rows.some((r) => r.url.endsWith("quality=low") && r.cache === "hit") &&
		document.getElementById("note").textContent.startsWith("There is no 64 kbit/s")`)
	p.until(t, "all of that is kept", `slices.length === 2 && slices.every((s) => s.dataset.tier === "memory")`)
}

// Where browsers run no service worker, the page says so and plays all the same.
func TestPageElsewhere(t *testing.T) {
	d := startDemo(t, false)
	p := openPage(t, "http://"+elsewhere+":"+d.port+"/")
	defer p.finish(t)

	p.until(t, "it says so", `!document.getElementById("limited").hidden`)
	p.until(t, "covers are fetched", `rows.filter((r) => r.what === "cover" && r.status === "200" && r.cache === "fetched").length === 4`)
	p.click(t, "#play")
	p.until(t, "it plays", `!audio.paused && audio.currentTime > 0.5`)
	p.until(t, "some slices are kept", `slices.some((s) => s.dataset.tier === "memory")`)
}
