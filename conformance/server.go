package conformance

import (
	"context"
	"fmt"

	"github.com/voyo-music/caddy-voyo/internal/peer"
)

// Server is a cache to be tested.
type Server struct {
	Name string
	// Start starts it in front of an origin, a host and a port, with a directory of
	// its own. Without it the origin itself is tested.
	Start func(ctx context.Context, dir, origin string) (*peer.Process, error)
}

// Edge is this module's handler. The resolver is there because a handler needs one;
// nothing is asked of it.
const Edge = `voyo {
	resolver template {
		audio http://127.0.0.1:9/{http.voyo.id}
	}
	origin http://%s
}`

// Caddy is a Caddy whose site has one handler, in which %s is the origin.
func Caddy(name, program, global, handler string) Server {
	return Server{Name: name, Start: func(ctx context.Context, dir, origin string) (*peer.Process, error) {
		return peer.StartCaddy(ctx, program, dir, fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	storage file_system %s/storage
	%s
}
http:// {
	bind fd/3
	route {
		%s
	}
}
`, dir, global, fmt.Sprintf(handler, origin)))
	}}
}
