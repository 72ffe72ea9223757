package voyo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/voyo-music/caddy-voyo/resolver"
)

// purgeRequest is what /voyo/purge is sent: one or more of its fields.
type purgeRequest struct {
	IDs   []string `json:"ids,omitempty"`   // all that is kept of the tracks
	Tags  []string `json:"tags,omitempty"`  // what upstreams have labelled so
	Paths []string `json:"paths,omitempty"` // what is answered there; of pages, full URLs
	All   bool     `json:"all,omitempty"`
}

// purgeAnswer says what was purged. The fields that were sent are there again.
type purgeAnswer struct {
	IDs   []trackNames `json:"ids,omitempty"`
	Tags  []string     `json:"tags,omitempty"`
	Paths []string     `json:"paths,omitempty"`
	All   bool         `json:"all,omitempty"`

	Keys      int  `json:"keys"`                // of the caches, whether something was kept there or not
	Locations *int `json:"locations,omitempty"` // that resolvers had told, forgotten; absent with a fleet
	fleetReceipt
}

// purge is what a request wants to be gone.
type purge struct {
	all                 bool
	tags                []string
	streams, art, pages []string      // keys
	tracks              []resolver.ID // of which locations are to be forgotten
}

// servePurge purges, and answers when it is in effect. With a fleet it is all of it that
// purges.
func (a *adminAPI) servePurge(w http.ResponseWriter, r *http.Request, handlers []*Handler) error {
	var asked purgeRequest
	if err := readJSON(w, r, &asked); err != nil {
		return err
	}
	p, answer, err := asked.parse()
	if err != nil {
		return refusal(http.StatusBadRequest, err)
	}
	// Half a purge is none: that the client leaves does not end it.
	ctx := context.WithoutCancel(r.Context())
	log := fleetOf(handlers)
	if log != nil {
		if answer.fleetReceipt, err = asked.tell(ctx, log); err != nil {
			return err
		}
	}
	// The states of a configuration that is being loaded are purged, too.
	var failed []error
	forgotten := 0
	for _, s := range statesInPool() {
		if s.following.Load() != nil {
			continue // it hears of it from the fleet
		}
		locations, err := s.purge(ctx, p)
		forgotten += locations
		failed = append(failed, err)
		if log == nil {
			answer.Nodes++
		}
	}
	if log == nil {
		answer.Locations = &forgotten
	}
	err = errors.Join(failed...)
	countPurge(answer)
	a.logPurge(r, answer, err)
	if err != nil {
		return refusal(http.StatusInternalServerError, fmt.Errorf(
			"purged, and in effect now, but what is on disk may come back after a restart (%s): purge again", diskFailure(err)))
	}
	return adminJSON(w, r, answer)
}

// parse checks what was sent.
func (q purgeRequest) parse() (p purge, answer purgeAnswer, err error) {
	switch {
	case q.IDs == nil && q.Tags == nil && q.Paths == nil && !q.All:
		return p, answer, errors.New(`one of "ids", "tags" and "paths" is required, or "all": true`)
	case q.IDs != nil && len(q.IDs) == 0, q.Tags != nil && len(q.Tags) == 0, q.Paths != nil && len(q.Paths) == 0:
		return p, answer, errors.New(`"ids", "tags" and "paths" must not be empty lists`)
	case slices.ContainsFunc(q.Tags, func(tag string) bool { return strings.TrimSpace(tag) == "" }):
		return p, answer, errors.New("tags: one is empty")
	}
	ids, err := parseIDs(q.IDs)
	if err != nil {
		return p, answer, err
	}
	p.all, p.tags = q.All, q.Tags
	for _, id := range ids {
		answer.IDs = append(answer.IDs, namesOf(id))
		for _, a := range id.Assets() {
			p.addAsset(a)
		}
	}
	for _, path := range q.Paths {
		if err := p.addPath(path); err != nil {
			return p, answer, fmt.Errorf("paths: %q: %w", abbreviated(path), err)
		}
	}
	answer.Tags, answer.Paths, answer.All = q.Tags, q.Paths, q.All
	answer.Keys = len(p.streams) + len(p.art) + len(p.pages)
	return p, answer, nil
}

// decodePurge reads a purge that some node has told the fleet.
func decodePurge(b []byte) (purge, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var asked purgeRequest
	if err := dec.Decode(&asked); err != nil {
		return purge{}, err
	}
	p, _, err := asked.parse()
	return p, err
}

// purgeOf is the purge of all that is kept of a track.
func purgeOf(id resolver.ID) (p purge) {
	for _, a := range id.Assets() {
		p.addAsset(a)
	}
	return p
}

func (p *purge) addAsset(a resolver.Asset) {
	if a.Kind == resolver.Art {
		p.art = append(p.art, a.Key())
	} else {
		p.streams = append(p.streams, a.Key())
	}
	p.tracks = append(p.tracks, a.ID)
}

// addPath adds what is answered at a path: the stream or cover that it names, in the
// bitrate or size that it names, or a page. Pages are kept by their whole URL, as
// each host may have others.
func (p *purge) addPath(path string) error {
	u, err := url.Parse(path)
	if err != nil || !strings.HasPrefix(u.EscapedPath(), "/") && (u.Host == "" || u.Path != "") {
		return errors.New("not a path or URL")
	}
	if u.Host != "" && u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("not an http or https URL")
	}
	at, ours := locate(u)
	switch {
	case !ours && u.Host == "":
		return errors.New("a page is purged by its whole URL, with scheme and host")
	case !ours:
		p.pages = append(p.pages, keyOf(u))
		return nil
	case at.endpoint != endpointStream && at.endpoint != endpointArt:
		return errors.New("what is answered there is not kept")
	}
	req, err := at.parse(u, true)
	if err != nil {
		return err
	}
	p.addAsset(req.asset)
	return nil
}

// statesInPool returns all states that are in use.
func statesInPool() (list []*state) {
	states.Range(func(_, value any) bool {
		list = append(list, value.(*state))
		return true
	})
	return list
}

// purge purges the state's caches, and forgets what it knows of the tracks. It returns
// how many locations that were. An error is of a disk; all that can be done was.
func (s *state) purge(ctx context.Context, p purge) (locations int, err error) {
	s.enter()
	defer s.leave()
	// Locations come first, so that nothing is fetched from an old one for a cache that
	// is purged already; marks last, as what is being warmed now is purged.
	if p.all {
		locations = s.memo.ForgetAll()
	} else {
		locations = s.memo.ForgetTracks(p.tracks...)
	}
	var failed []error
	try := func(err error) { failed = append(failed, err) }
	if p.all {
		try(s.streams.PurgeAll(ctx))
		try(s.art.PurgeAll(ctx))
		try(s.pages.PurgeAll(ctx))
	} else {
		try(s.streams.Purge(ctx, p.streams...))
		try(s.art.Purge(ctx, p.art...))
		try(s.pages.Purge(ctx, p.pages...))
	}
	if len(p.tags) > 0 && !p.all {
		try(s.streams.PurgeTags(ctx, p.tags...))
		try(s.art.PurgeTags(ctx, p.tags...))
		try(s.pages.PurgeTags(ctx, p.tags...))
	}
	// a tag's tracks are not known
	if p.all || len(p.tags) > 0 {
		s.warming.forgetAll()
	} else {
		s.warming.forget(p.streams...)
	}
	return locations, errors.Join(failed...)
}

// logPurge says who has purged how much. What it was is not said: URLs of pages may have
// secrets in their queries.
func (a *adminAPI) logPurge(r *http.Request, answer purgeAnswer, err error) {
	fields := append(whoAsks(r),
		zap.Int("ids", len(answer.IDs)),
		zap.Int("tags", len(answer.Tags)),
		zap.Int("paths", len(answer.Paths)),
		zap.Bool("all", answer.All),
		zap.Int("keys", answer.Keys))
	fields = append(fields, answer.fields()...)
	if err != nil {
		fields = append(fields, zap.NamedError("disk_error", err))
	}
	a.logger.Info("purged", fields...)
}

// whoAsks says for the log who has sent a request.
func whoAsks(r *http.Request) []zap.Field {
	fields := []zap.Field{zap.String("remote_addr", r.RemoteAddr)}
	if origin := r.Header.Get("Origin"); origin != "" {
		fields = append(fields, zap.String("origin", origin))
	}
	// who has come by the remote admin endpoint has shown a certificate
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		fields = append(fields, zap.String("client", r.TLS.PeerCertificates[0].Subject.String()))
	}
	return fields
}
