package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"github.com/voyo-music/caddy-voyo/resolver"
	"github.com/voyo-music/caddy-voyo/resolver/internal/pattern"
)

const (
	// maxBody is far more than a service has to say about one track.
	maxBody = 1 << 20

	maxRedirects = 5
)

// ask returns the service's answer and the URL that it came from.
func (a *API) ask(ctx context.Context, service *url.URL) ([]byte, *url.URL, error) {
	r := &http.Request{Method: http.MethodGet, URL: service, Host: service.Host, Header: make(http.Header)}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "caddy-voyo")
	maps.Copy(r.Header, a.header)
	resp, err := a.client.Do(r.WithContext(ctx))
	if err != nil {
		return nil, nil, failure(err)
	}
	defer resp.Body.Close()

	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusBadRequest, http.StatusNotFound, http.StatusGone: // some find an unknown ID malformed
		return nil, nil, resolver.ErrNotFound
	default:
		return nil, nil, fmt.Errorf("service answered with status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, nil, failure(err)
	}
	if len(body) > maxBody {
		return nil, nil, fmt.Errorf("service's answer is larger than %d bytes", maxBody)
	}
	return body, resp.Request.URL, nil
}

// checkRedirect bounds a redirect's hops and keeps credentials from other hosts.
// The client itself keeps back only headers that are known to hold them.
func (a *API) checkRedirect(next *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return errTooManyRedirects
	}
	next.Header.Del("Referer") // it may have a key in its query
	if next.URL.Scheme == via[0].URL.Scheme && pattern.HostPort(next.URL) == a.url.HostPort() {
		return nil
	}
	for name := range a.header {
		next.Header.Del(name)
	}
	return nil
}

var errTooManyRedirects = errors.New("too many redirects")

// requestError is a failed request. Its text tells the cause but no URL, host or
// address, all of which the errors it wraps may have.
type requestError struct {
	text string
	err  error
}

func (e *requestError) Error() string { return "asking the service: " + e.text }
func (e *requestError) Unwrap() error { return e.err }

func failure(err error) error {
	var (
		timeout net.Error
		lookup  *net.DNSError
		errno   syscall.Errno
	)
	text := "request failed"
	switch {
	case errors.Is(err, context.Canceled):
		text = "canceled"
	case errors.As(err, &timeout) && timeout.Timeout():
		text = "timed out"
	case errors.Is(err, errTooManyRedirects):
		text = errTooManyRedirects.Error()
	case errors.As(err, &lookup):
		text = "host name not resolved"
	case errors.As(err, &errno):
		text = errno.Error()
	}
	return &requestError{text: text, err: err}
}
