package voyo

import (
	"net/url"
	"strings"

	"github.com/voyo-music/caddy-voyo/resolver"
)

// endpoint is what is asked for at one of VOYO's paths.
type endpoint int

const (
	endpointStream   endpoint = iota + 1 // the bytes of a track
	endpointArt                          // the bytes of a cover
	endpointExists                       // is there such a track?
	endpointLocate                       // where is the stream?
	endpointPrefetch                     // get ready for the track
	endpointHealth
)

// shape is one form of VOYO's URLs, with the names that it has for things.
type shape struct {
	path     string // all of it; one that ends in a slash is followed by the ID
	endpoint endpoint
	id       string // the parameter that holds the ID, where the path does not
	typ      string // the parameter that holds the type
	quality  string // the parameter that holds the quality
}

// streamPath is where this edge says that streams are.
const streamPath = "/cdn/stream/"

// artPath is where other edges ask for covers.
const artPath = "/cdn/art/"

// healthPath is where load balancers and other edges ask how this one is.
const healthPath = "/health"

// shapes are all the forms there are. VOYO's players were written for three
// servers, one after the other, hence the synonyms.
var shapes = []shape{
	{path: streamPath, endpoint: endpointStream, typ: "type", quality: "quality"},
	{path: artPath, endpoint: endpointArt, quality: "quality"},
	{path: "/proxy", endpoint: endpointStream, id: "v", typ: "type", quality: "quality"},
	{path: "/thumbnail", endpoint: endpointArt, id: "id", quality: "quality"},
	{path: "/audio/", endpoint: endpointStream, quality: "q"},
	{path: "/thumb/", endpoint: endpointArt, quality: "q"},
	{path: "/exists/", endpoint: endpointExists},
	{path: "/stream", endpoint: endpointLocate, id: "v", typ: "type", quality: "quality"},
	{path: "/prefetch", endpoint: endpointPrefetch, id: "v", typ: "type", quality: "quality"},
	{path: healthPath, endpoint: endpointHealth},
}

// request is what a URL of VOYO's asks for.
type request struct {
	endpoint endpoint
	asset    resolver.Asset
	asked    string // the ID as the client wrote it
	quality  string // the quality as the client wrote it, or else the default's name
}

// locate finds the shape of a URL. It reports false if the path is not VOYO's.
func locate(u *url.URL) (*shape, bool) {
	path := u.EscapedPath()
	for i := range shapes {
		if s := &shapes[i]; path == s.path || strings.HasSuffix(s.path, "/") && strings.HasPrefix(path, s.path) {
			return s, true
		}
	}
	return nil, false
}

// parse reads a URL of the shape. The error is resolver.ErrInvalidID; all else
// that is unknown or missing has a default.
func (s *shape) parse(u *url.URL, rawIDs bool) (request, error) {
	if s.endpoint == endpointHealth {
		return request{endpoint: s.endpoint}, nil
	}
	var query url.Values
	if u.RawQuery != "" {
		query = u.Query()
		delete(query, "") // or else ?=video would be the type of a shape that has none
	}
	// As it was sent: an ID needs no percent-encoding, and what is encoded, be it
	// a slash, must not become part of one by being decoded.
	asked := strings.TrimPrefix(u.EscapedPath(), s.path)
	if s.id != "" {
		asked = query.Get(s.id)
	}
	id, err := resolver.ParseID(asked)
	if err != nil {
		return request{}, err
	}
	if !rawIDs && !resolver.IsVOYO(asked) {
		return request{}, resolver.ErrInvalidID
	}
	quality := query.Get(s.quality)
	req := request{endpoint: s.endpoint, asked: asked}
	if s.endpoint == endpointArt {
		req.asset = resolver.Asset{ID: id, Kind: resolver.Art, Image: resolver.ParseImage(quality)}
	} else {
		req.asset = resolver.Asset{
			ID:      id,
			Kind:    resolver.Stream,
			Type:    resolver.ParseType(query.Get(s.typ)),
			Bitrate: resolver.ParseBitrate(quality),
		}
	}
	req.quality = req.asset.Quality()
	// medium and high are one asset, but two words
	if req.asset.Kind == resolver.Stream && quality == "medium" {
		req.quality = quality
	}
	return req, nil
}
