package voyo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/internal/byterange"
	"github.com/voyo-music/caddy-voyo/internal/contain"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// warmHead is how many bytes of a track make it start at once: half a minute of
// 128 kbit/s.
const warmHead = 512 << 10

// existsTimeout bounds how long it is looked for a track, at all bitrates.
const existsTimeout = 15 * time.Second

// The sources that clients are told of.
const (
	sourceEdge   = "edge"   // it is here
	sourceOrigin = "origin" // it is to be fetched
)

// answerJSON answers with an object that is right now and maybe not later.
func answerJSON(w http.ResponseWriter, r *http.Request, status int, object any) error {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false) // or else the & of a URL can't be read
	if err := enc.Encode(object); err != nil {
		return err
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		// what goes wrong from here on is the connection's end
		_, _ = body.WriteTo(w)
	}
	return nil
}

// existence is the answer of /exists.
type existence struct {
	Exists bool   `json:"exists"`
	High   bool   `json:"high"`
	Low    bool   `json:"low"`
	Size   int64  `json:"size"` // in bytes, of the best there is
	Source string `json:"source"`
}

// serveExists answers whether there is such a track. However many ask at a time,
// upstreams are asked once, and for no client in particular.
func (h *Handler) serveExists(w http.ResponseWriter, r *http.Request, req *request) error {
	up := h.upstream(r, req.asset)
	found, err := h.state.lookups.do(r.Context(), string(req.asset.ID), h.permit(r), func() (found any, err error) {
		ctx, cancel := context.WithTimeout(h.state.warming.ctx, existsTimeout)
		defer cancel()
		err = contain.Do(func() error {
			found, err = up.exists(ctx)
			return err
		})
		return found, err
	})
	switch {
	case r.Context().Err() != nil:
		return clientGone(r)
	case err != nil:
		h.reportPanic(err)
		return answerError(w, r, problemOf(resolver.Stream, err))
	default:
		return answerJSON(w, r, http.StatusOK, found)
	}
}

// exists finds out which bitrates of the track there are. That one could not be
// asked for is an error only if there is no other.
func (u *upstream) exists(ctx context.Context) (existence, error) {
	answer := existence{Source: sourceOrigin}
	var failed error
	for _, bitrate := range []int{resolver.LowBitrate, resolver.HighBitrate} {
		a := u.asset
		a.Bitrate = bitrate
		size, err := u.measure(ctx, a)
		if errors.Is(err, resolver.ErrNotFound) {
			continue
		}
		if err != nil {
			info, ok := u.h.state.streams.Peek(ctx, a.Key())
			if !ok || info.Size < 0 {
				failed = err
				continue
			}
			// What is here can be played, whatever has become of its origin.
			size, answer.Source = info.Size, sourceEdge
		}
		answer.Exists = true
		answer.Size = size
		if bitrate == resolver.LowBitrate {
			answer.Low = true
		} else {
			answer.High = true
		}
	}
	if answer.Exists {
		failed = nil
	}
	return answer, failed
}

// measure returns the asset's size in bytes, 0 if it can't be told. It asks for
// one byte with GET, because a signed URL is good for no other method. What is
// empty is no track.
func (u *upstream) measure(ctx context.Context, a resolver.Asset) (int64, error) {
	resp, err := u.fetchAsset(ctx, a, http.Header{"Range": {"bytes=0-0"}})
	if err != nil {
		return 0, err
	}
	defer discard(resp)
	switch {
	case resp.StatusCode == http.StatusPartialContent:
		_, size, err := byterange.ParseContentRange(resp.Header.Get("Content-Range"))
		return size, err
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable, resp.ContentLength == 0:
		return 0, resolver.ErrNotFound
	default:
		return max(resp.ContentLength, 0), nil
	}
}

// location is the answer of /stream.
type location struct {
	URL      string        `json:"url"`
	AudioURL string        `json:"audioUrl"`
	VideoID  string        `json:"videoId"`
	Type     resolver.Type `json:"type"`
	Quality  string        `json:"quality"`
	Cached   bool          `json:"cached"`
	Boosting bool          `json:"boosting"` // warming began with this request
	Source   string        `json:"source"`
}

// serveLocation answers with where the stream is: here.
func (h *Handler) serveLocation(w http.ResponseWriter, r *http.Request, req *request, signed *link) error {
	answer := location{
		URL:      h.streamURL(r, req, req.asset.Type, signed),
		AudioURL: h.streamURL(r, req, resolver.Audio, signed),
		VideoID:  req.asked,
		Type:     req.asset.Type,
		Quality:  req.quality,
		Source:   sourceOrigin,
	}
	if info, ok := h.state.streams.Peek(r.Context(), req.asset.Key()); ok && info.Head > 0 {
		answer.Cached, answer.Source = true, sourceEdge
		return answerJSON(w, r, http.StatusOK, answer)
	}
	verdict, _, err := h.warm(r, req.asset, h.permit(r))
	if err != nil {
		// A player can make something of this, but not of the URL's being refused.
		return answerError(w, r, problemOf(resolver.Stream, err))
	}
	answer.Boosting = verdict == warmingBegins
	return answerJSON(w, r, http.StatusOK, answer)
}

// streamURL returns the URL of the request's stream on this edge, as the client
// is to use it: for as long as what it was asked for with, and by the same clients.
func (h *Handler) streamURL(r *http.Request, req *request, typ resolver.Type, signed *link) string {
	base := h.publicURL
	if base == nil {
		base = &url.URL{Scheme: "http", Host: r.Host}
		if r.TLS != nil {
			base.Scheme = "https"
		}
	}
	path := streamPath + req.asset.ID.VOYO()
	u := base.JoinPath(path)
	u.RawQuery = "type=" + string(typ) + "&quality=" + req.quality // words of ours
	if signed != nil {
		u.RawQuery += "&" + h.linkKeys.query(link{target: path, expires: signed.expires, client: signed.client})
	}
	return u.String()
}

// servePrefetch has the track warmed, and answers at once.
func (h *Handler) servePrefetch(w http.ResponseWriter, r *http.Request, req *request) error {
	h.state.prefetches.Add(1)
	verdict, _, err := h.warm(r, req.asset, h.permit(r))
	if err != nil {
		return answerError(w, r, problemOf(resolver.Stream, err))
	}
	status, message := "warming", "Track is being prepared"
	switch verdict {
	case warmAlready:
		message = "Track is already prepared or being prepared"
	case warmingRefused:
		status, message = "busy", "Too many tracks are being prepared"
	}
	return answerJSON(w, r, http.StatusAccepted, struct {
		Status  string `json:"status"`
		VideoID string `json:"videoId"`
		Message string `json:"message"`
	}{status, req.asked, message})
}

// warm gets ready for the track in the background: what a player plays first is
// the track's head, and what it shows first is its cover. That is one lookup, which
// the permit, nil if there need be none, refuses at once or not at all; the error says
// so.
func (h *Handler) warm(r *http.Request, a resolver.Asset, permit func() error) (verdict, *warmth, error) {
	image := resolver.Asset{ID: a.ID, Kind: resolver.Art, Image: resolver.ParseImage("")}
	stream, cover := h.upstream(r, a), h.upstream(r, image)
	if permit != nil && isOpen(r.Context(), h.state.streams, a) && isOpen(r.Context(), h.state.art, image) {
		permit = nil
	}
	return h.state.warming.warm(a.Key(), permit, func(ctx context.Context) error {
		err := contain.Do(func() error {
			err := h.state.streams.Warm(ctx, stream.request(nil, nil), warmHead)
			// a track without a cover is warm all the same
			h.reportPanic(h.state.art.Warm(ctx, cover.request(nil, nil), math.MaxInt64))
			return err
		})
		h.reportPanic(err)
		return err
	})
}

// isOpen reports whether the asset is one that the cache asks no permit for.
func isOpen(ctx context.Context, c *cache.Cache, a resolver.Asset) bool {
	_, ok := c.Peek(ctx, a.Key())
	return ok
}

// reportPanic counts and logs a panic in the background, once however many got
// it as their error. Its value is not logged, as it may hold anything, but its
// type says much.
func (h *Handler) reportPanic(err error) {
	p, ok := errors.AsType[*contain.PanicError](err)
	if !ok || !p.Claim() {
		return
	}
	h.state.panics.Add(1)
	h.logger.Error("panic in the background",
		zap.String("type", fmt.Sprintf("%T", p.Value)),
		zap.ByteString("stack", p.Stack))
}
