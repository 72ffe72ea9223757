package cache

import "net/http"

// Invalidate makes all that is stored for a target URI, and all that is being fetched
// for it, of no use to requests that come later (RFC 9111, section 4.4). It is for
// transparent policies.
func (c *Cache) Invalidate(key string) {}

// Put stores an answer that has come by another way than a Fetch, if its policy lets
// it be stored. body is all of its content.
func (c *Cache) Put(req Request, resp *http.Response, body []byte) {}
