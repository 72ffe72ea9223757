package voyo

import (
	"fmt"
	"net/http"
	"os"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/voyo-music/caddy-voyo/cache"
)

// serviceName is what the node says that it is.
const serviceName = "voyo-edge"

// healthReport is the answer of /health. Dashboards read it: its fields keep
// their names and types.
type healthReport struct {
	Status          string       `json:"status"`
	Service         string       `json:"service"`
	Reasons         []string     `json:"reasons,omitempty"`
	Uptime          int64        `json:"uptime"` // in seconds
	UptimeFormatted string       `json:"uptimeFormatted"`
	Memory          memoryReport `json:"memory"`
	Cache           cacheReport  `json:"cache"`
	RateLimit       limitReport  `json:"rateLimit"`
	Timestamp       string       `json:"timestamp"`
}

type memoryReport struct {
	RSS       string `json:"rss"`
	HeapUsed  string `json:"heapUsed"`
	HeapTotal string `json:"heapTotal"` // what the runtime has reserved for the heap
}

type cacheReport struct {
	StreamCacheSize    int         `json:"streamCacheSize"`
	ThumbnailCacheSize int         `json:"thumbnailCacheSize"`
	PrefetchCacheSize  int         `json:"prefetchCacheSize"`
	StreamHitRate      string      `json:"streamHitRate"`
	StreamDisk         *diskReport `json:"streamDisk,omitempty"`
	ThumbnailDisk      *diskReport `json:"thumbnailDisk,omitempty"`
	Stats              statsReport `json:"stats"`
}

type diskReport struct {
	Bytes  int64 `json:"bytes"` // of the disk taken
	Limit  int64 `json:"limit"` // in bytes
	Slices int   `json:"slices"`

	objects int
}

type statsReport struct {
	StreamHits       int64 `json:"streamHits"`
	StreamMisses     int64 `json:"streamMisses"`
	ThumbnailHits    int64 `json:"thumbnailHits"`
	ThumbnailMisses  int64 `json:"thumbnailMisses"`
	PrefetchRequests int64 `json:"prefetchRequests"`
	ActiveStreams    int64 `json:"activeStreams"`
	StartTime        int64 `json:"startTime"` // in Unix milliseconds
}

type limitReport struct {
	ActiveIPs  int `json:"activeIPs"`  // clients seen within the longest window of a limit per client
	PerIPLimit int `json:"perIPLimit"` // requests in their window; 0 if they are not limited
}

// serveHealth answers how the node is.
func (h *Handler) serveHealth(w http.ResponseWriter, r *http.Request) error {
	now := time.Now()
	uptime := now.Sub(h.state.started)
	report := healthReport{
		Status:          "healthy",
		Service:         serviceName,
		Reasons:         h.ailments(now),
		Uptime:          int64(uptime / time.Second),
		UptimeFormatted: fmt.Sprintf("%dh %dm", int64(uptime/time.Hour), int64(uptime/time.Minute)%60),
		Memory:          reportMemory(),
		Cache:           h.state.report(),
		RateLimit:       h.limiter.report(),
		Timestamp:       now.UTC().Format("2006-01-02T15:04:05.000Z"),
	}
	status := http.StatusOK
	if len(report.Reasons) > 0 {
		report.Status, status = "degraded", http.StatusServiceUnavailable
	}
	return answerJSON(w, r, status, report)
}

// report returns the figures of the caches.
func (s *state) report() cacheReport {
	streams, art := s.streams.Stats(), s.art.Stats()
	disks := s.disksInUse()
	streamsKept, artKept := disks.streams.report(), disks.art.report()
	return cacheReport{
		// most of what is in one place is in the others too
		StreamCacheSize:    max(s.memo.Tracks(), streams.Entries, streamsKept.count()),
		ThumbnailCacheSize: max(art.Entries, artKept.count()),
		PrefetchCacheSize:  s.warming.Len(),
		StreamHitRate:      hitRate(streams),
		StreamDisk:         streamsKept,
		ThumbnailDisk:      artKept,
		Stats: statsReport{
			StreamHits:       streams.Hits,
			StreamMisses:     streams.Misses,
			ThumbnailHits:    art.Hits,
			ThumbnailMisses:  art.Misses,
			PrefetchRequests: s.prefetches.Load(),
			ActiveStreams:    s.activeStreams.Load(),
			StartTime:        s.started.UnixMilli(),
		},
	}
}

// hitRate formats the share of requests that needed no upstream.
func hitRate(s cache.Stats) string {
	rate := 0.0
	if s.Hits > 0 {
		rate = 100 * float64(s.Hits) / float64(s.Hits+s.Misses)
	}
	return fmt.Sprintf("%.2f%%", rate)
}

// reportMemory reads runtime/metrics, which, unlike runtime.ReadMemStats, does
// not stop the world each time that a probe comes by.
func reportMemory() memoryReport {
	const heap = "/memory/classes/heap/"
	samples := []metrics.Sample{
		{Name: heap + "objects:bytes"},
		{Name: heap + "unused:bytes"},
		{Name: heap + "free:bytes"},
		{Name: heap + "released:bytes"},
		{Name: "/memory/classes/total:bytes"},
	}
	metrics.Read(samples)
	var reserved uint64
	for _, s := range samples[:4] {
		reserved += s.Value.Uint64()
	}
	rss, ok := residentBytes()
	if !ok {
		rss = samples[4].Value.Uint64() - samples[3].Value.Uint64()
	}
	return memoryReport{
		RSS:       megabytes(rss),
		HeapUsed:  megabytes(samples[0].Value.Uint64()),
		HeapTotal: megabytes(reserved),
	}
}

// residentBytes asks the kernel, where that is Linux. See proc_pid_status(5).
func residentBytes() (uint64, bool) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, false
	}
	_, rest, ok := strings.Cut(string(status), "\nVmRSS:")
	if !ok {
		return 0, false
	}
	value, _, _ := strings.Cut(rest, " kB")
	n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
	return n << 10, err == nil
}

func megabytes(n uint64) string {
	return strconv.FormatUint((n+1<<19)>>20, 10) + "MB"
}

const (
	// failingAfter is how many failures in a row make a resolver a failing one.
	failingAfter = 3

	// failingFor is how long after its last failure it counts as one. A node that
	// is said to be degraded gets no requests from a load balancer, so no success
	// could ever show that it is well again.
	failingFor = 30 * time.Second
)

// pulses hold how each resolver did lately, together with the upstreams it names, and how
// the shields did. There are as many as there are resolvers, and one more. The zero value is ready for use.
type pulses struct {
	mu     sync.Mutex
	byName map[string]pulse
}

type pulse struct {
	failures int // in a row
	reason   reason
	at       time.Time // of the last one
}

func (p *pulses) failed(name string, why reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byName == nil {
		p.byName = make(map[string]pulse)
	}
	p.byName[name] = pulse{p.byName[name].failures + 1, why, time.Now()}
}

func (p *pulses) succeeded(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.byName, name)
}

// failing returns why a resolver fails all the time, if it does.
func (p *pulses) failing(name string, now time.Time) (reason, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.byName[name]
	return last.reason, last.failures >= failingAfter && now.Sub(last.at) < failingFor
}

// ailments returns why the node is not as it should be.
func (h *Handler) ailments(now time.Time) []string {
	return slices.Concat(h.sourceAilments(now), h.state.disksInUse().ailments(), h.state.following.Load().ailments())
}

// sourceAilments returns why the node can't fetch: the shields, if there are any, and all of
// its resolvers fail. It is empty as long as one does not.
func (h *Handler) sourceAilments(now time.Time) []string {
	var list []string
	if h.shields != nil {
		why, failing := h.state.pulses.failing(shieldSource, now)
		if !failing {
			return nil
		}
		list = append(list, fmt.Sprintf("%s: %s", shieldSource, why))
	}
	for i := range h.resolvers {
		r := &h.resolvers[i]
		why, failing := h.state.pulses.failing(r.name, now)
		if !failing {
			return nil
		}
		list = append(list, fmt.Sprintf("resolver %s: %s", r.display, why))
	}
	return list
}
