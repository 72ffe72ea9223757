// Command caddy is Caddy with its standard modules and VOYO's edge.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/voyo-music/caddy-voyo"
)

func main() {
	caddycmd.Main()
}
