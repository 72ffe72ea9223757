package voyo

import (
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/voyo-music/caddy-voyo/cache"
)

// nodeStatus is the answer of /voyo/status. The figures at its top are those of all
// nodes together.
type nodeStatus struct {
	Version string           `json:"version"`
	Caddy   string           `json:"caddy"`
	Status  string           `json:"status"` // as /health says it
	Reasons []string         `json:"reasons"`
	Fleet   *fleetMembership `json:"fleet,omitempty"`
	stateStatus
	Nodes []namedStatus `json:"nodes,omitempty"` // if there are several
}

// namedStatus is the status of one node: of the handlers that share a cache.
type namedStatus struct {
	Name string `json:"name"` // the beginning of what its directories on disks are named
	stateStatus
}

// stateStatus are the figures of one state, or of several together.
type stateStatus struct {
	Uptime        int64            `json:"uptime"`   // in seconds
	Handlers      int              `json:"handlers"` // in the configuration
	Requests      int              `json:"requests"` // being answered
	ActiveStreams int64            `json:"activeStreams"`
	Prefetches    prefetchStatus   `json:"prefetches"`
	Takedowns     int              `json:"takedowns"` // tracks that are taken down
	Panics        int64            `json:"panics"`    // contained in the background
	Locations     locationStatus   `json:"locations"`
	Caches        cachesStatus     `json:"caches"`
	Resolvers     []resolverStatus `json:"resolvers"`
	Shields       []shieldStatus   `json:"shields,omitempty"` // if there is another tier
}

type prefetchStatus struct {
	Requested int64 `json:"requested"`
	Warm      int   `json:"warm"` // tracks that are, or are being warmed
}

// locationStatus is about what resolvers have answered.
type locationStatus struct {
	Remembered int   `json:"remembered"`
	Hits       int64 `json:"hits"`
	Lookups    int64 `json:"lookups"`
	UnderWay   int   `json:"underWay"`
}

type cachesStatus struct {
	Art    cacheStatus `json:"art"`
	Stream cacheStatus `json:"stream"`
	Page   cacheStatus `json:"page"`
}

type cacheStatus struct {
	Entries int         `json:"entries"` // in memory
	Bytes   int64       `json:"bytes"`   // of memory
	Limit   int64       `json:"limit"`   // of that, in bytes
	Hits    int64       `json:"hits"`
	Misses  int64       `json:"misses"`
	Sent    int64       `json:"sent"`  // bytes of bodies, to clients
	Fills   int         `json:"fills"` // exchanges with upstreams, under way
	Disk    *diskStatus `json:"disk,omitempty"`
}

type diskStatus struct {
	Bytes   int64  `json:"bytes"`
	Limit   int64  `json:"limit"`
	Objects int    `json:"objects"`
	Slices  int    `json:"slices"`
	Loading bool   `json:"loading,omitempty"` // not all that is there is counted yet
	State   string `json:"state"`             // "ok", or why nothing is written to it
}

// resolverStatus never has a URL, host or key of the resolver.
type resolverStatus struct {
	Name     string `json:"name"`
	Position int    `json:"position"`
	Status   string `json:"status"` // "ok", or "failing"
	Reason   string `json:"reason,omitempty"`
}

// shieldStatus never has a shield's URL or host.
type shieldStatus struct {
	Position int    `json:"position"`
	Status   string `json:"status"` // "ok", "failing": it is left out, or "self": it is this node
	Reason   string `json:"reason,omitempty"`
}

const (
	statusHealthy  = "healthy"
	statusDegraded = "degraded"
	statusOK       = "ok"
	statusFailing  = "failing"
)

// serveStatus answers how the node is, or with ?fleet=true how all of its fleet are.
func (a *adminAPI) serveStatus(w http.ResponseWriter, r *http.Request, handlers []*Handler) error {
	if r.URL.Query().Get("fleet") == "true" {
		return a.serveFleetStatus(w, r, handlers)
	}
	return adminJSON(w, r, nodeStatusOf(handlers))
}

// nodeStatusOf returns how the node is that has the handlers.
func nodeStatusOf(handlers []*Handler) nodeStatus {
	now := time.Now()
	caddyVersion, _ := caddy.Version()
	answer := nodeStatus{Version: moduleVersion(), Caddy: caddyVersion, Status: statusHealthy, Reasons: []string{}}
	for _, h := range handlers {
		for _, reason := range h.ailments(now) {
			if !slices.Contains(answer.Reasons, reason) {
				answer.Reasons = append(answer.Reasons, reason)
			}
		}
	}
	if len(answer.Reasons) > 0 {
		answer.Status = statusDegraded
	}
	if log := fleetOf(handlers); log != nil {
		answer.Fleet = log.membership()
	}
	states := statesOf(handlers)
	seen := make(map[*store]bool)
	for _, s := range states {
		one := s.status(now, handlers)
		answer.Nodes = append(answer.Nodes, namedStatus{s.name[:12], one})
		answer.add(one)
		answer.Caches.Art.addDisk(s.disksInUse().art, seen)
		answer.Caches.Stream.addDisk(s.disksInUse().streams, seen)
	}
	if len(states) <= 1 {
		answer.Nodes = nil
	}
	return answer
}

// status returns the figures of the state, which some of the handlers use.
func (s *state) status(now time.Time, handlers []*Handler) stateStatus {
	requests, limits := s.load()
	memo, disks := s.memo.Stats(), s.disksInUse()
	answer := stateStatus{
		Uptime:        int64(now.Sub(s.started) / time.Second),
		Requests:      requests,
		ActiveStreams: s.activeStreams.Load(),
		Prefetches:    prefetchStatus{s.prefetches.Load(), s.warming.Len()},
		Takedowns:     s.takedowns.count(),
		Panics:        s.panics.Load(),
		Locations:     locationStatus{s.memo.Len(), memo.Hits, memo.Lookups, memo.UnderWay},
		Caches: cachesStatus{
			Art:    statusOf(s.art.Stats(), limits.art, disks.art),
			Stream: statusOf(s.streams.Stats(), limits.streams, disks.streams),
			Page:   statusOf(s.pages.Stats(), limits.pages, nil),
		},
		Resolvers: []resolverStatus{},
	}
	for _, h := range handlers {
		if h.state != s {
			continue
		}
		if answer.Handlers++; answer.Handlers == 1 { // the others have the same
			answer.Resolvers = h.resolverStatus(now)
		}
		if answer.Shields == nil { // they may have others, but hardly have
			answer.Shields = h.shields.status(now)
		}
	}
	return answer
}

// load returns how many requests are being answered, and the limits in effect.
func (s *state) load() (requests int, l limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.leases) > 0 {
		l = s.leases[0].limits
	}
	return s.requests, l
}

func statusOf(st cache.Stats, l cache.Limits, disk *hold) cacheStatus {
	return cacheStatus{
		Entries: st.Entries,
		Bytes:   st.Bytes,
		Limit:   l.Memory,
		Hits:    st.Hits,
		Misses:  st.Misses,
		Sent:    st.Sent,
		Fills:   st.Fills,
		Disk:    disk.status(),
	}
}

// status returns the store's figures, nil if there is no store.
func (h *hold) status() *diskStatus {
	if h == nil {
		return nil
	}
	st := h.store.Stats()
	answer := &diskStatus{
		Bytes: st.Bytes, Limit: st.Limit, Objects: st.Objects, Slices: st.Slices, Loading: st.Loading, State: statusOK,
	}
	if err := h.store.Err(); err != nil {
		answer.State = diskFailure(err)
	}
	return answer
}

// resolverStatus returns how each of the resolvers did lately.
func (h *Handler) resolverStatus(now time.Time) (list []resolverStatus) {
	for i := range h.resolvers {
		r := &h.resolvers[i]
		one := resolverStatus{Name: r.display, Position: i, Status: statusOK}
		if why, failing := h.state.pulses.failing(r.name, now); failing {
			one.Status, one.Reason = statusFailing, string(why)
		}
		list = append(list, one)
	}
	return list
}

// status returns how each of the shields is, none if there are none.
func (s *shields) status(now time.Time) (list []shieldStatus) {
	if s == nil {
		return nil
	}
	for _, one := range s.list {
		list = append(list, one.status(now))
	}
	return list
}

func (s *shield) status(now time.Time) shieldStatus {
	status, why := s.health.state(now)
	return shieldStatus{s.position, status, string(why)}
}

// add makes the figures those of another state, too. Disks can be shared, so they are
// not added up here.
func (s *stateStatus) add(other stateStatus) {
	s.Uptime = max(s.Uptime, other.Uptime)
	s.Handlers += other.Handlers
	s.Requests += other.Requests
	s.ActiveStreams += other.ActiveStreams
	s.Prefetches.Requested += other.Prefetches.Requested
	s.Prefetches.Warm += other.Prefetches.Warm
	s.Takedowns = max(s.Takedowns, other.Takedowns) // which are the fleet's
	s.Panics += other.Panics
	s.Locations.Remembered += other.Locations.Remembered
	s.Locations.Hits += other.Locations.Hits
	s.Locations.Lookups += other.Locations.Lookups
	s.Locations.UnderWay += other.Locations.UnderWay
	s.Caches.Art.add(other.Caches.Art)
	s.Caches.Stream.add(other.Caches.Stream)
	s.Caches.Page.add(other.Caches.Page)
	s.Resolvers = append(s.Resolvers, other.Resolvers...)
	s.Shields = append(s.Shields, other.Shields...)
}

func (c *cacheStatus) add(other cacheStatus) {
	c.Entries += other.Entries
	c.Bytes += other.Bytes
	c.Limit += other.Limit
	c.Hits += other.Hits
	c.Misses += other.Misses
	c.Sent += other.Sent
	c.Fills += other.Fills
}

// addDisk adds a disk's figures, unless another state on the same disk has.
func (c *cacheStatus) addDisk(disk *hold, seen map[*store]bool) {
	if disk == nil || seen[disk.store] {
		return
	}
	seen[disk.store] = true
	one := disk.status()
	if c.Disk == nil {
		c.Disk = one
		return
	}
	c.Disk.Bytes += one.Bytes
	c.Disk.Limit += one.Limit
	c.Disk.Objects += one.Objects
	c.Disk.Slices += one.Slices
	c.Disk.Loading = c.Disk.Loading || one.Loading
	if one.State != statusOK {
		c.Disk.State = one.State
	}
}

// modulePath is where Go finds this module.
const modulePath = "github.com/voyo-music/caddy-voyo"

// moduleVersion returns the version of this module in the program.
func moduleVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path != modulePath {
			continue
		}
		if m.Replace != nil && m.Replace.Version != "" {
			m = m.Replace
		}
		return m.Version
	}
	return "unknown"
}
