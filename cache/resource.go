package cache

import (
	"net/http"
	"slices"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// maxVaries is how many sets of fields, by which its responses have been selected,
// are remembered of a target URI.
const maxVaries = 4

// resource is what is known of a target URI whose policy is a gateway's.
type resource struct {
	// varies are the fields that the Vary of its stored responses names, the latest
	// first. A URI can have responses with different ones, such as pages and errors.
	varies [][]string

	// since is the generation that responses must be of: those asked for earlier
	// were invalidated.
	since uint64
}

// resources are those of which something is stored, and those that were invalidated
// while something was fetched. Guarded by Cache.mu.
type resources struct {
	known *simplelru.LRU[string, *resource]

	generation uint64         // counts what was invalidated
	floor      uint64         // the since of all others: the latest that was forgotten
	flying     map[string]int // openings under way, by target URI
}

func newResources(size int) *resources {
	r := &resources{flying: make(map[string]int)}
	r.known = newLRU(size, func(_ string, res *resource) { r.floor = max(r.floor, res.since) })
	return r
}

// since returns the generation that a target URI's responses must be of.
func (r *resources) since(target string) uint64 {
	if res, ok := r.known.Peek(target); ok {
		return res.since
	}
	return r.floor
}

// get returns the resource for a target URI, which is made if it is not known.
func (r *resources) get(target string) *resource {
	res, ok := r.known.Get(target)
	if !ok {
		res = &resource{since: r.floor}
		r.known.Add(target, res)
	}
	return res
}

// launched and landed count the openings under way.
func (r *resources) launched(target string) { r.flying[target]++ }

func (r *resources) landed(target string) {
	if r.flying[target]--; r.flying[target] == 0 {
		delete(r.flying, target)
	}
}

// invalidate makes responses that were asked for before of no use. O(1).
func (r *resources) invalidate(target string) {
	r.generation++
	if r.known.Contains(target) || r.flying[target] > 0 {
		r.get(target).since = r.generation
	}
}

// selectedBy notes that responses are selected by the fields named.
func (res *resource) selectedBy(names []string) {
	for i, known := range res.varies {
		if slices.Equal(known, names) {
			copy(res.varies[1:i+1], res.varies[:i])
			res.varies[0] = known
			return
		}
	}
	res.varies = append([][]string{names}, res.varies[:min(len(res.varies), maxVaries-1)]...)
}

// variant returns the key of the response that a request for a target URI selects by
// the fields named (RFC 9111, section 4.1).
func variant(req Request, names []string) string {
	if len(names) == 0 {
		return req.Key
	}
	return req.Key + "\x00" + variantKey(names, req.Header)
}

// find returns the response that the request selects, nil if there is none, and the
// key that one which is fetched for it is expected to have.
func (s *store) find(req Request) (o *object, key string) {
	if !req.Policy.Gateway {
		return s.get(req.Key), req.Key
	}
	res, ok := s.resources.known.Get(req.Key)
	if !ok || len(res.varies) == 0 {
		return nil, req.Key
	}
	for _, names := range res.varies {
		k := variant(req, names)
		if key == "" {
			key = k
		}
		switch o := s.get(k); {
		case o == nil:
		case o.born < res.since:
			s.void(o)
		default:
			return o, k
		}
	}
	return nil, key
}

// claimVariant gives an object, which was fetched for the request, the key under which
// those requests find it that select it. It reports false if it was invalidated.
func (s *store) claimVariant(req Request, o *object) bool {
	if o.born < s.resources.since(req.Key) {
		return false
	}
	names, _ := varyFields(o.header)
	o.key = variant(req, names)
	res, ok := s.resources.known.Get(req.Key)
	if !ok { // it may have been known before, and been invalidated since
		res = s.resources.get(req.Key)
		res.since = o.born
	}
	res.selectedBy(names)
	return true
}

// hasOthers reports whether a target URI has responses that other requests select.
func (s *store) hasOthers(req Request) bool {
	res, ok := s.resources.known.Peek(req.Key)
	return ok && len(res.varies) > 0 && len(res.varies[0]) > 0
}

// selects reports whether a request selects an object, which was fetched for another and
// has the header given.
func (o *object) selects(req Request, h http.Header) bool {
	names, ok := varyFields(h)
	return ok && variant(req, names) == o.key
}
