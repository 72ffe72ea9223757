package api

import (
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/voyo-music/caddy-voyo/resolver"
	"github.com/voyo-music/caddy-voyo/resolver/internal/pattern"
)

const (
	// maxTargets bounds how many places are tried for one asset.
	maxTargets = 8

	// maxLocation bounds a URL, in bytes: it is remembered. It is as long as RFC 9110,
	// section 4.1, would have everybody support.
	maxLocation = 8000
)

var errMalformed = errors.New("service's answer is malformed JSON")

// format is what a service is asked and answers.
type format struct {
	kinds []resolver.Kind // what the service knows of a track

	// complete adds what a request needs to a service's URL.
	complete func(service string) string

	// locations returns the URLs that an answer has for the asset, the best first.
	locations func(body []byte, a resolver.Asset) ([]string, error)

	relative bool // the answer's URLs may be relative to the service's
}

var formats = map[string]format{
	"voyo": {
		kinds:     []resolver.Kind{resolver.Stream},
		complete:  completeVOYO,
		locations: locationsVOYO,
		relative:  true,
	},
	"piped": {
		kinds:     []resolver.Kind{resolver.Stream, resolver.Art},
		complete:  completePiped,
		locations: locationsPiped,
	},
}

// compile reads a service's URL, which is complete if it has placeholders.
func (f format) compile(service string) (*pattern.URL, error) {
	if strings.Contains(service, "{") {
		return pattern.CompileURL(service, f.kinds...)
	}
	return pattern.CompileURL(f.complete(service), f.kinds...)
}

// read makes an answer of what the service said.
func (f format) read(body []byte, from *url.URL, a resolver.Asset) (*resolver.Answer, error) {
	locations, err := f.locations(body, a)
	if err != nil {
		return nil, err
	}
	answer := new(resolver.Answer)
	for _, location := range locations {
		u := f.parse(location, from)
		if u == nil {
			continue
		}
		answer.Targets = append(answer.Targets, resolver.Target{URL: u})
		if expires := expiry(u); !expires.IsZero() && (answer.Expires.IsZero() || expires.Before(answer.Expires)) {
			answer.Expires = expires
		}
		if len(answer.Targets) == maxTargets {
			break
		}
	}
	if len(answer.Targets) == 0 {
		return nil, resolver.ErrNotFound
	}
	return answer, nil
}

// parse returns the URL of a location, nil if it is of no use.
func (f format) parse(location string, from *url.URL) *url.URL {
	if location == "" || len(location) > maxLocation {
		return nil
	}
	u, err := url.Parse(location)
	if err != nil {
		return nil
	}
	if f.relative {
		u = from.ResolveReference(u)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return nil
	}
	u.Fragment, u.RawFragment = "", ""
	return u
}

// expiry reads when a link expires, which YouTube's and Piped's tell in their
// query, in Unix seconds; zero if it doesn't tell.
func expiry(u *url.URL) time.Time {
	const year9999 = 253402300799
	seconds, err := strconv.ParseInt(u.Query().Get("expire"), 10, 64)
	if err != nil || seconds <= 0 || seconds > year9999 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

func completeVOYO(service string) string {
	separator := "?"
	if strings.Contains(service, "?") {
		separator = "&"
	}
	return service + separator + "v={http.voyo.id}&type={http.voyo.type}&quality={http.voyo.quality}"
}

func locationsVOYO(body []byte, a resolver.Asset) ([]string, error) {
	var answer struct {
		URL      string `json:"url"`
		AudioURL string `json:"audioUrl"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, errMalformed
	}
	if a.Type != resolver.Audio || answer.AudioURL == answer.URL {
		return []string{answer.URL}, nil
	}
	return []string{answer.URL, answer.AudioURL}, nil
}
