package cache

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
)

// maxInterims is how many interim responses of one exchange are passed on.
const maxInterims = 16

var errInterims = errors.New("too many interim responses")

// interim is a response before the final one (RFC 9110, section 15.2).
type interim struct {
	status int
	header http.Header
}

// relayInterims returns a context in which a flight's interim responses are kept for
// the client to pass on that the upstream was asked for, if the policy is a gateway's. To
// others, nobody knows yet whether they may be shown.
func (c *Cache) relayInterims(ctx context.Context, fl *flight, req Request) context.Context {
	if !req.Policy.Gateway {
		return ctx
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(status int, header textproto.MIMEHeader) error {
			if status == http.StatusContinue { // this is for the edge, which has waited for it
				return nil
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if len(fl.interims) == maxInterims {
				return errInterims
			}
			fl.interims = append(fl.interims, interim{status, storedHeader(http.Header(header))})
			if fl.news != nil {
				close(fl.news)
				fl.news = nil
			}
			return nil
		},
	})
}

// await waits for a flight to end, and passes its interim responses on meanwhile.
func (t *transaction) await(ctx context.Context, fl *flight) error {
	if !fl.recall { // which is the disk's
		t.c.waiting.Add(1)
		defer t.c.waiting.Add(-1)
	}
	for told := 0; ; {
		fresh, news := t.interims(fl, told)
		for _, i := range fresh {
			t.tell(i)
		}
		told += len(fresh)
		select {
		case <-fl.done:
			return nil
		default:
		}
		select {
		case <-fl.done:
		case <-news:
		case <-ctx.Done():
			t.leave(fl)
			return ctx.Err()
		}
	}
}

// interims returns those that came after the first told, and what to wait for.
func (t *transaction) interims(fl *flight, told int) (fresh []interim, news <-chan struct{}) {
	if t.tell == nil || t.outcome.collapsed {
		return nil, nil
	}
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	if fl.news == nil {
		fl.news = make(chan struct{})
	}
	return fl.interims[told:], fl.news
}

// teller returns what passes interim responses on to the client, which must not be sent
// any over HTTP/1.0 (RFC 9110, section 15.2).
func teller(w http.ResponseWriter, r *http.Request) func(interim) {
	if !r.ProtoAtLeast(1, 1) {
		return func(interim) {}
	}
	return func(i interim) {
		header := w.Header()
		final := header.Clone() // of other handlers; it is not for this one
		clear(header)
		maps.Copy(header, i.header)
		w.WriteHeader(i.status)
		clear(header)
		maps.Copy(header, final)
	}
}
