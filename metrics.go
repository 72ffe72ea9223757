package voyo

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/internal/fleet"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// The metrics are in Caddy's registry, of which each configuration has its own. What
// they tell is no configuration's: it is counted for as long as the process runs, and
// read from the caches that there are when somebody asks. So a reload, be it one that
// fails, neither loses nor doubles anything.
//
// Labels have few values, which the code or the configuration names: never a track, a
// key or a URL. docs/metrics.md says what each of them means.

// The kinds of things that are served, as metrics have them.
const (
	kindStream = string(resolver.Stream)
	kindArt    = string(resolver.Art)
	kindPage   = "page"
)

var kinds = []string{kindStream, kindArt, kindPage}

// originSource is the origin's name among those of the resolvers.
const originSource = "origin"

// shieldSource is that of all shields together.
const shieldSource = "shield"

// firstByteBuckets are in seconds: from an answer out of memory to one whose client
// has given up.
var firstByteBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// What is counted as it happens.
var (
	requestsTotal = newCounters("requests_total",
		"Requests for streams, covers and pages, by what the cache did.", "kind", "cache")
	errorsTotal = newCounters("errors_total",
		"Requests that could not be answered, by why. They are those whose cache is error.", "kind", "reason")
	brokenTotal = newCounters("broken_answers_total",
		"Answers that broke off after they had begun, with their client still there.", "kind")
	refusedTotal = newCounters("refused_requests_total",
		"Requests that were refused, by why.", "reason")
	upstreamRequestsTotal = newCounters("upstream_requests_total",
		"Requests that upstreams were sent, by the resolver that named the place.", "kind", "resolver")
	upstreamFailuresTotal = newCounters("upstream_failures_total",
		"Requests that upstreams failed to answer, or to answer to the end.", "kind", "resolver", "reason")
	upstreamBytesTotal = newCounters("upstream_bytes_total",
		"Bytes of bodies that came from upstreams.", "kind", "resolver")
	lookupsTotal = newCounters("lookups_total",
		"Lookups of where something is, by resolver and what came of it.", "resolver", "outcome")
	lookupFailuresTotal = newCounters("lookup_failures_total",
		"Lookups that failed, by why.", "resolver", "reason")
	purgesTotal = newCounters("purges_total",
		"Tracks, tags, paths and times everything, that operators have purged.", "by")
	diskErrorsTotal = newCounters("disk_errors_total",
		"Times that a disk began to fail, and files that were not what they should be.", "kind", "error")

	appliedTotal = newCounters("fleet_applied_total",
		"Entries of the fleet's log that were applied, by kind.", "kind")

	firstByteSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "caddy_voyo",
		Name:      "first_byte_seconds",
		Help:      "Time until an answer began, by whether it needed an upstream.",
		Buckets:   firstByteBuckets,
	}, []string{"kind", "cache"})
)

// meters are those that each request is counted by, by kind: to look them up by their
// labels takes longer than to count.
var meters = make(map[string]meter)

type meter struct {
	requests                    map[cache.Status]prometheus.Counter
	firstByteHit, firstByteMiss prometheus.Observer
}

func newMeter(kind string) meter {
	m := meter{
		requests:      make(map[cache.Status]prometheus.Counter),
		firstByteHit:  firstByteSeconds.WithLabelValues(kind, firstByteHit),
		firstByteMiss: firstByteSeconds.WithLabelValues(kind, firstByteMiss),
	}
	for _, status := range []cache.Status{
		cache.Hit, cache.Miss, cache.Partial, cache.Stale, cache.Revalidated, cache.Pass, cache.Failed,
	} {
		m.requests[status] = requestsTotal.WithLabelValues(kind, string(status))
	}
	return m
}

// counters are all of them.
var counters = []prometheus.Collector{
	requestsTotal, errorsTotal, brokenTotal, refusedTotal, upstreamRequestsTotal, upstreamFailuresTotal, upstreamBytesTotal,
	lookupsTotal, lookupFailuresTotal, purgesTotal, diskErrorsTotal, appliedTotal, firstByteSeconds,
}

func newCounters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "caddy_voyo", Name: name, Help: help}, labels)
}

// What is read when somebody asks.
var (
	activeStreams = newDesc("active_streams", "Streams that are being sent.")
	fills         = newDesc("fills", "Exchanges with upstreams, under way or waiting for others to end.", "kind", "state")
	waiting       = newDesc("waiting_readers", "Readers that wait for an upstream.", "kind")
	clientBytes   = newDesc("client_bytes_total", "Bytes of bodies that clients were sent.", "kind", "from")
	entries       = newDesc("cache_entries", "Things of which something is kept.", "kind", "tier")
	entriesLimit  = newDesc("cache_entries_limit", "How many things may be kept in memory.", "kind")
	keptBytes     = newDesc("cache_bytes", "Bytes taken of memory or disk.", "kind", "tier")
	keptLimit     = newDesc("cache_limit_bytes", "Bytes that may be taken of memory or disk.", "kind", "tier")
	evictions     = newDesc("evictions_total", "Slices, and things as a whole, that made room for others.", "kind", "tier")
	diskWrites    = newDesc("disk_writes_total", "Slices that were to be written to disk.", "kind", "result")
	disksFailed   = newDesc("disks_failed", "Disks that nothing is written to at present, because they fail.", "kind")
	shieldsFailed = newDesc("shields_failed", "Shields that are left out at present, because they have failed.")
	prefetches    = newDesc("prefetches_total", "Requests to get ready for a track.")
	panics        = newDesc("panics_total", "Panics in the background that were contained.")

	fleetInfo      = newDesc("fleet_info", "The name that the node has in its fleet. Always 1.", "node")
	fleetConnected = newDesc("fleet_connected", "1 while the node is connected to its fleet.")
	fleetCurrent   = newDesc("fleet_current", "1 while the node is known to have applied all that its fleet was told.")
	fleetLag       = newDesc("fleet_lag", "Entries of the fleet's log that are known and not applied yet.")
	takedownsKept  = newDesc("takedowns", "Tracks that are taken down.")
)

var descs = []*prometheus.Desc{
	activeStreams, fills, waiting, clientBytes, entries, entriesLimit, keptBytes, keptLimit, evictions,
	diskWrites, disksFailed, shieldsFailed, prefetches, panics, fleetInfo, fleetConnected, fleetCurrent, fleetLag, takedownsKept,
}

func newDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("caddy_voyo_"+name, help, labels, nil)
}

// Series that are there before something happens show the first time that it does.
func init() {
	for _, kind := range kinds {
		meters[kind] = newMeter(kind)
		for _, reason := range errorReasons {
			errorsTotal.WithLabelValues(kind, reason)
		}
		brokenTotal.WithLabelValues(kind)
	}
	for _, reason := range refusals {
		refusedTotal.WithLabelValues(reason)
	}
	for _, by := range purgedBy {
		purgesTotal.WithLabelValues(by)
	}
	for _, kind := range []fleet.Kind{fleet.Purge, fleet.Takedown, fleet.Lift, fleet.Reset} {
		appliedTotal.WithLabelValues(string(kind))
	}
	for _, kind := range []string{artDisk, streamDisk} {
		for _, what := range []string{diskErrorFailed, diskErrorDamaged} {
			diskErrorsTotal.WithLabelValues(kind, what)
		}
	}
}

// registerMetrics registers the metrics with a configuration.
func registerMetrics(ctx caddy.Context) error {
	err := ctx.GetMetricsRegistry().Register(collector{})
	if isA[prometheus.AlreadyRegisteredError](err) {
		return nil // by another handler of this configuration
	}
	return err
}

// collector hands out all metrics of the process.
type collector struct{}

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range counters {
		c.Describe(ch)
	}
	for _, d := range descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (collector) Collect(ch chan<- prometheus.Metric) {
	for _, c := range counters {
		c.Collect(ch)
	}
	all := living.figures()
	for _, kind := range kinds {
		all.kinds[kind].collect(ch, kind)
	}
	count(ch, clientBytes, passedBytes.Load(), kindPage, originSource)
	gauge(ch, activeStreams, all.activeStreams)
	gauge(ch, shieldsFailed, failedShields())
	count(ch, prefetches, all.prefetches)
	count(ch, panics, all.panics)
	collectFleet(ch)
}

// collectFleet hands out how the node stands in its fleet, and nothing if it is in none.
// While a reload changes it there are two, of which the worse figures count.
func collectFleet(ch chan<- prometheus.Metric) {
	members, connected, current, lag := 0, 1, 1, int64(0)
	nodes := make(map[string]bool)
	fleets.Range(func(_, value any) bool {
		m := value.(*fleetLog).membership()
		members++
		nodes[m.Node] = true
		connected, current = min(connected, zeroOrOne(m.Connected)), min(current, zeroOrOne(m.Current))
		lag = max(lag, int64(m.Lag)) //nolint:gosec // no log is so long
		return true
	})
	if members == 0 {
		return
	}
	for node := range nodes {
		gauge(ch, fleetInfo, 1, node)
	}
	gauge(ch, fleetConnected, connected)
	gauge(ch, fleetCurrent, current)
	gauge(ch, fleetLag, lag)
	gauge(ch, takedownsKept, living.takedowns())
}

func zeroOrOne(is bool) int {
	if is {
		return 1
	}
	return 0
}

// collect hands out the figures of a kind.
func (f *figures) collect(ch chan<- prometheus.Metric, kind string) {
	const memory, onDisk = "memory", "disk"
	gauge(ch, fills, f.cache.Fills, kind, "running")
	gauge(ch, fills, f.cache.Queued, kind, "queued")
	gauge(ch, waiting, f.cache.Waiting, kind)
	count(ch, clientBytes, f.cache.Sent-f.cache.FromDisk, kind, memory)
	gauge(ch, entries, f.cache.Entries, kind, memory)
	gauge(ch, entriesLimit, f.cache.Limits.Entries, kind)
	gauge(ch, keptBytes, f.cache.Bytes, kind, memory)
	gauge(ch, keptLimit, f.cache.Limits.Memory, kind, memory)
	count(ch, evictions, f.cache.Evicted, kind, memory)
	if kind == kindPage {
		return // there is no disk for pages
	}
	count(ch, clientBytes, f.cache.FromDisk, kind, onDisk)
	gauge(ch, entries, f.disk.Objects, kind, onDisk)
	gauge(ch, keptBytes, f.disk.Bytes, kind, onDisk)
	gauge(ch, keptLimit, f.disk.Limit, kind, onDisk)
	count(ch, evictions, f.disk.Evicted, kind, onDisk)
	count(ch, diskWrites, f.disk.Written, kind, "written")
	count(ch, diskWrites, f.disk.Skipped, kind, "skipped")
	gauge(ch, disksFailed, f.disksFailed, kind)
}

func gauge[N int | int64](ch chan<- prometheus.Metric, d *prometheus.Desc, n N, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
}

func count(ch chan<- prometheus.Metric, d *prometheus.Desc, n int64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}
