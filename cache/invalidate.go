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

// Put stores an answer that has come by another way than a Fetch, if its policy,
// which is a gateway's, lets it be stored. body is all of its content. What is
// asked for after Put has returned can be answered with it.
func (c *Cache) Put(req Request, resp *http.Response, body []byte) {
	answer := *resp
	answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	req.Fetch = func(context.Context, http.Header) (*http.Response, error) { return &answer, nil }

	fl := &flight{key: req.Key, alone: true, background: true}
	c.mu.Lock()
	c.launch(fl, req, nil, whole)
	c.mu.Unlock()
	<-fl.done
}
