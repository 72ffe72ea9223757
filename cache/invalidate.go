package cache

import (
	"bytes"
	"context"
	"io"
	"net/http"
)

// Invalidate makes all that is stored for a target URI, and all that is being fetched
// for it, of no use to requests that come later (RFC 9111, section 4.4). It is for
// gateways.
func (c *Cache) Invalidate(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.store.resources.invalidate(key)
}

// Expected is an answer that comes by another way than a Fetch, and may be stored. What
// is purged or invalidated while it is on its way counts for it.
type Expected struct {
	c        *Cache
	key      string
	born     uint64 // generation
	stamp    uint64 // of the latest purge
	outdated bool   // others have invalidated the target since it was asked for
}

// Expect is called before an answer for a target URI, of which a gateway's key is given,
// is asked for by another way than a Fetch. Done must be called when it has come.
func (c *Cache) Expect(key string) *Expected {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.store.resources.launched(key)
	return &Expected{c: c, key: key, born: c.store.resources.generation, stamp: c.store.purges.latest}
}

// Done ends the expectation.
func (e *Expected) Done() {
	e.c.mu.Lock()
	defer e.c.mu.Unlock()
	e.c.store.resources.landed(e.key)
}

// Invalidate is Invalidate for the answer's own target, because of that answer, which
// stays of use itself.
func (e *Expected) Invalidate() {
	c := e.c
	c.mu.Lock()
	defer c.mu.Unlock()
	e.outdated = e.outdated || e.born < c.store.resources.since(e.key)
	c.store.resources.invalidate(e.key)
	e.born = c.store.resources.generation
}

// Put stores the answer, if its policy lets it be stored. body is all of its content.
// What is asked for after Put has returned can be answered with it.
func (e *Expected) Put(req Request, resp *http.Response, body []byte) {
	answer := *resp
	answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	req.Fetch = func(context.Context, http.Header) (*http.Response, error) { return &answer, nil }

	fl := &flight{key: req.Key, alone: true, background: true}
	e.c.mu.Lock()
	e.c.launch(fl, req, nil, whole)
	fl.born, fl.stamp, fl.outdated = e.born, e.stamp, e.outdated
	e.c.mu.Unlock()
	<-fl.done
}
