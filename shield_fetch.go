package voyo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
	"go.uber.org/zap"

	"github.com/voyo-music/caddy-voyo/cache"
)

// maxShieldTries is how many shields are asked at the most for one fetch. If two
// have not got it, it is where they would look for it as well.
const maxShieldTries = 2

// Why a shield's answer is of no use although nothing is wrong with the shield, nor with
// what it would ask.
var (
	errShieldLoop   = errors.New("the request has been there before")
	errShieldSelf   = fmt.Errorf("%w: the shield is this node", errShieldLoop)
	errShieldBehind = errors.New("the shield has another version, or is behind in the fleet's log")
)

// errShieldSilent says that nothing was heard of a shield for too long.
var errShieldSilent = fmt.Errorf("the shield is silent: %w", context.DeadlineExceeded)

// askShields asks the other tier for the asset, or the next best one that there is. There
// is neither an answer nor an error if the resolvers are to be asked. The error is one of
// cache.ErrNotFound, or that of ctx.
func (u *upstream) askShields(ctx context.Context, header http.Header) (*http.Response, error) {
	if u.h.shields == nil {
		return nil, nil
	}
	t := u.h.shields.turn(u.asset.ID)
	var last error
	began := time.Now()
	for tries := 0; tries < maxShieldTries && time.Since(began) <= maxShieldTries*shieldPatience; {
		s, err := t.next()
		u.h.reportPanic(err)
		now := time.Now()
		if s == nil || s.health.isSelf(now) {
			break
		}
		ok, trial := s.health.admit(now)
		if !ok {
			continue
		}
		tries++
		resp, err := u.askShield(ctx, s, trial, header)
		if err == nil || errors.Is(err, cache.ErrNotFound) {
			u.h.state.pulses.succeeded(shieldSource)
			u.source.Store(&sourceShield)
			return resp, err
		}
		if ctx.Err() != nil {
			if err = context.Cause(ctx); !isTimeout(err) {
				return nil, err // nobody waits any more, which is nobody's fault
			}
			return nil, failureOf(err)
		}
		if last = err; errors.Is(err, errShieldLoop) {
			break // the owner is this node, or whoever has asked it
		}
	}
	if f, ok := errors.AsType[failure](last); ok && f.counts() {
		u.h.state.pulses.failed(shieldSource, f.reason)
	}
	return nil, nil
}

var sourceShield = shieldSource

// askShield asks one shield, and notes how it is.
func (u *upstream) askShield(ctx context.Context, s *shield, trial bool, header http.Header) (*http.Response, error) {
	defer s.health.undecided(trial) // if nobody waits for it any more, or the transport panics
	asked := time.Now()
	resp, err := u.getShield(ctx, s, header)
	now := time.Now()
	switch f, ok := errors.AsType[failure](err); {
	case err != nil && ctx.Err() != nil:
	case ok && f.isShields():
		u.h.shieldFailed(s, asked, f, trial)
	default:
		if s.health.succeeded(now) {
			u.h.logger.Info("shield is back", zap.Int("position", s.position))
		}
		if errors.Is(err, errShieldSelf) {
			s.health.setSelf(now)
		}
	}
	if err != nil {
		u.h.logger.Debug("shield had no answer",
			zap.String("id", u.asset.ID.VOYO()),
			zap.String("kind", string(u.asset.Kind)),
			zap.Int("position", s.position),
			zap.Error(err))
	}
	return resp, err
}

// shieldFailed notes that a shield has not answered what it was asked at the time given.
func (h *Handler) shieldFailed(s *shield, asked time.Time, f failure, trial bool) {
	if s.health.failed(time.Now(), asked, f.reason, trial) {
		h.logger.Warn("shield is left out", zap.Int("position", s.position), zap.Stringer("reason", f))
	}
}

// isShields reports whether a failure is that of the shield itself, and not of what it
// has asked. A status of 502 or 504 is not, nor is a refusal.
func (f failure) isShields() bool {
	switch {
	case f.reason == reasonBadAnswer:
		return false
	case f.reason != reasonStatus:
		return true
	default:
		return f.status == http.StatusInternalServerError || f.status == http.StatusServiceUnavailable
	}
}

// getShield asks one shield. What it returns has been checked and stripped as that of
// another upstream; what the shield's cache did is noted for the client.
func (u *upstream) getShield(ctx context.Context, s *shield, header http.Header) (*http.Response, error) {
	own := upstreamHeader(u.asset, header, u.cdnLoop)
	u.h.state.following.Load().stamp(own)
	resp, err := u.sendShield(ctx, s, own)
	var tiers string
	if err == nil {
		if tiers, err = u.acceptShield(resp, own); err != nil {
			discard(resp)
		}
	}
	if err == nil || errors.Is(err, cache.ErrNotFound) {
		u.tiers.Store(&tiers)
	}
	if errors.Is(err, errShieldLoop) || errors.Is(err, errShieldBehind) || errors.Is(err, cache.ErrNotFound) {
		upstreamRequestsTotal.WithLabelValues(string(u.asset.Kind), shieldSource).Inc()
		return nil, err
	}
	if err != nil {
		err = failureOf(err)
	}
	countFetch(ctx, string(u.asset.Kind), shieldSource, resp, err)
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// sendShield sends a shield the request. It is given up when it falls silent, and when its
// body has not begun in the time that any upstream has.
func (u *upstream) sendShield(ctx context.Context, s *shield, own http.Header) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	target := s.target(u.asset, u.h.linkKeys)
	r := &http.Request{Method: http.MethodGet, URL: target, Host: target.Host, Header: own}
	begin := time.AfterFunc(cache.StallTimeout, func() { cancel(errShieldSilent) })
	heard := u.h.watch(s, cancel)
	resp, err := u.h.client.RoundTrip(r.WithContext(ctx))
	heard()
	if err == nil && ctx.Err() != nil {
		_ = resp.Body.Close()
		err = ctx.Err()
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		begin.Stop()
		cancel(nil)
		return nil, err
	}
	resp.Body = &shieldBody{resp.Body, u.h, s, ctx, cancel, begin}
	return resp, nil
}

// watch cancels a request to a shield that is silent until heard is called.
func (h *Handler) watch(s *shield, cancel context.CancelCauseFunc) (heard func()) {
	return s.health.untilSilent(func() bool { return h.probe(s) }, func() { cancel(errShieldSilent) })
}

// acceptShield checks a shield's answer to a request with the header given, and returns
// what the caches on the way say that they did, also of what there is not.
//
// Only what an edge's cache has answered counts, be it that there is no such track: at a
// URL with a mistake in it there may be another server.
func (u *upstream) acceptShield(resp *http.Response, own http.Header) (tiers string, err error) {
	tiers, edge := tiersOf(resp.Header)
	if err := shieldRefusal(resp, edge, own); err != nil {
		return tiers, err
	}
	// Only of a shield is it believed. What is meant for other caches is not for this one.
	resp.Header["Cdn-Cache-Control"] = resp.Header[cache.PeerField]
	if err := accept(resp, u.asset, "", own); err != nil {
		return "", err
	}
	switch ifRange := own.Get("If-Range"); {
	case !edge:
		return "", errBadAnswer
	case ifRange == "":
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable,
		hasContent(resp) && resp.Header.Get("Etag") != ifRange && resp.Header.Get("Last-Modified") != ifRange:
		// Which of the two is the newer one is for the track's origin to say.
		return "", errShieldBehind
	}
	if hasContent(resp) {
		// An edge sends its header together with the first byte. From one that has not, the
		// rest can't be expected either, and there is somebody else to ask.
		if _, err := peek(resp, 1); err != nil {
			return "", err
		}
	}
	resp.Header.Del("Vary") // on what clients send, who are asked for nothing here
	return tiers, nil
}

// shieldRefusal returns what a shield's answer says in place of having something, nil if it
// says no such thing. edge is whether an edge's cache has answered.
func shieldRefusal(resp *http.Response, edge bool, own http.Header) error {
	switch resp.StatusCode {
	case http.StatusLoopDetected:
		if resp.Header.Get("Cdn-Loop") == loopEntry {
			return errShieldSelf
		}
		return errShieldLoop
	case http.StatusPreconditionFailed:
		return errShieldBehind
	case http.StatusForbidden, http.StatusGone: // a link's signature or time, and not the track
		return failure{reason: reasonStatus, status: resp.StatusCode}
	case http.StatusUnavailableForLegalReasons, http.StatusNotFound: // which other servers have pages for, too
		switch {
		case !edge:
			return errBadAnswer
		case resp.StatusCode == http.StatusUnavailableForLegalReasons:
			return errTakenDown
		case own.Get("If-Range") != "": // there is a version of it under way, which it may not know of yet
			return errShieldBehind
		}
		return cache.MissingError{For: toldFor(resp.Header)}
	default:
		return nil
	}
}

// toldFor returns how long a shield will remember that there is no such track.
func toldFor(header http.Header) time.Duration {
	seconds, _ := strconv.ParseInt(strings.TrimPrefix(header.Get(cache.PeerField), "max-age="), 10, 32)
	return time.Duration(seconds) * time.Second
}

// tierParams are what an edge says of an exchange. A key may have a host and a signature in it.
var tierParams = []string{"hit", "ttl", "fwd", "fwd-status", "detail", "stored", "collapsed"}

// tiersOf returns the members of a Cache-Status field (RFC 9211) that are edges', with what
// edges say, and whether there is one. What other caches on the way say is not for clients.
func tiersOf(header http.Header) (members string, edge bool) {
	list, err := httpsfv.UnmarshalList(header["Cache-Status"])
	if err != nil || len(list) > maxEdges {
		return "", false
	}
	var edges httpsfv.List
	for _, m := range list {
		item, ok := m.(httpsfv.Item)
		if name, isToken := item.Value.(httpsfv.Token); !ok || !isToken || name != cache.Name {
			continue
		}
		for _, param := range slices.Clone(item.Params.Names()) {
			if !slices.Contains(tierParams, param) {
				item.Params.Del(param)
			}
		}
		edges = append(edges, item)
	}
	members, err = httpsfv.Marshal(edges)
	return members, err == nil && len(edges) > 0
}

// isHit reports whether an answer's Cache-Status says that it was there: its last member is
// this cache's.
func isHit(header http.Header) bool {
	own := header["Cache-Status"]
	return len(own) > 0 && strings.HasPrefix(own[len(own)-1], cache.Name+"; hit")
}

// setTiers puts what the other tier's caches did before what this one did, if this
// request's own fetch has asked them (RFC 9211, section 2).
func (u *upstream) setTiers(header http.Header) {
	tiers, own := u.tiers.Load(), header["Cache-Status"]
	if tiers != nil && len(own) > 0 {
		header["Cache-Status"] = append([]string{*tiers + ", " + own[0]}, own[1:]...)
	}
}

// shieldBody is the body of a shield's answer.
type shieldBody struct {
	io.ReadCloser

	h      *Handler
	shield *shield
	ctx    context.Context // of the request
	cancel context.CancelCauseFunc
	begin  *time.Timer // cancels ctx unless something of the body has come
}

// Read implements io.Reader.
func (b *shieldBody) Read(p []byte) (int, error) {
	began, heard := time.Now(), b.h.watch(b.shield, b.cancel)
	n, err := b.ReadCloser.Read(p)
	heard()
	if n > 0 || err == io.EOF {
		b.begin.Stop()
		b.shield.health.heard(time.Now())
	}
	if err == nil || err == io.EOF {
		return n, err
	}
	if cause := context.Cause(b.ctx); cause != nil {
		err = cause
	}
	if errors.Is(err, errShieldSilent) {
		b.h.shieldFailed(b.shield, began, failureOf(err), false)
	}
	return n, err
}

// Close implements io.Closer.
func (b *shieldBody) Close() error {
	err := b.ReadCloser.Close()
	b.begin.Stop()
	b.cancel(nil)
	return err
}
