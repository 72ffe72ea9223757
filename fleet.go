package voyo

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/voyo-music/caddy-voyo/internal/contain"
	"github.com/voyo-music/caddy-voyo/internal/expand"
	"github.com/voyo-music/caddy-voyo/internal/fleet"
)

// FleetConfig makes a node one of a fleet: what is purged or taken down at any one of
// its nodes is so at all of them, and those that were away learn it before they serve
// what they have kept. The nodes tell each other by NATS JetStream. All handlers of a
// configuration that have a fleet must have the same one.
type FleetConfig struct {
	// The URLs of servers of NATS, with the scheme `nats`, `tls`, `ws` or `wss`. One is
	// enough to find the others of a cluster. A user, a password or a token in a URL
	// must come from a placeholder, as in `{env.NATS_URL}`. Required.
	NATS []string `json:"nats,omitempty"`

	// The path of a file with the credentials of a user of NATS, as `nsc` makes it. It
	// is read anew for each connection. Default: none.
	Credentials string `json:"credentials,omitempty"`

	// The name of the node, which no other node of the fleet may have: letters, digits,
	// `-`, `_`, `.`, `=` and `/`. Default: the name of the host.
	Node string `json:"node,omitempty"`
}

// member is what a node is in a fleet. The zero value is in none.
type member struct {
	urls        string // which have no spaces
	credentials string
	node        string
}

func (m member) config() fleet.Config {
	return fleet.Config{
		URLs:        strings.Fields(m.urls),
		Credentials: m.credentials,
		Node:        m.node,
		Version:     moduleVersion(),
	}
}

// member returns what the configuration makes of the node, without asking the network.
func (c *FleetConfig) member(repl *caddy.Replacer) (m member, err error) {
	if c == nil {
		return member{}, nil
	}
	if len(c.NATS) == 0 {
		return member{}, errors.New("the URL of a server of NATS is required")
	}
	urls := make([]string, len(c.NATS))
	for i, text := range c.NATS {
		if urls[i], err = expand.Value(repl, "nats", text); err != nil {
			return member{}, err
		}
		switch {
		case urls[i] == "":
			return member{}, fmt.Errorf("nats: URL %d is empty", i+1)
		case strings.ContainsAny(urls[i], " \t\r\n"):
			return member{}, fmt.Errorf("nats: URL %d: it has spaces", i+1) // and maybe a password, so it is not repeated
		case hasUser(urls[i]) && !expand.Holds(text):
			return member{}, fmt.Errorf("nats: URL %d: a user, password or token must come from a placeholder "+
				"such as {env.NAME} or {file./path}", i+1)
		}
	}
	m.urls = strings.Join(urls, " ")
	if m.credentials, err = expand.Value(repl, "credentials", c.Credentials); err != nil {
		return member{}, err
	}
	if m.credentials != "" {
		if m.credentials, err = filepath.Abs(m.credentials); err != nil {
			return member{}, fmt.Errorf("credentials: %w", err)
		}
	}
	if m.node, err = expand.Value(repl, "node", c.Node); err != nil {
		return member{}, err
	}
	if m.node == "" {
		if m.node, err = os.Hostname(); err != nil {
			return member{}, fmt.Errorf("node: %w", err)
		}
	}
	return m, m.config().Validate()
}

// hasUser reports whether a URL of NATS, which may have no scheme, has somebody's name.
func hasUser(text string) bool {
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	u, err := url.Parse(text)
	return err == nil && u.User != nil
}

// fleets holds the log of each fleet that some lease is in, by the member that this node
// is of it. There is one, but while a reload changes it.
var fleets = caddy.NewUsagePool()

// fleetLog is the log of a fleet. It outlives reloads.
type fleetLog struct {
	*fleet.Log

	member member
}

// Destruct leaves the fleet, when the last lease has let go of it. A node that is stopped
// stays a member, which the others miss; one that a reload has renamed, or that could not be
// loaded, does not, unless the node has the name with other servers or credentials, too.
func (l *fleetLog) Destruct() error {
	stays := caddy.Exiting()
	var next *fleetLog
	fleets.Range(func(_, value any) bool { // l is not in there any more
		next = value.(*fleetLog)
		stays = stays || next.member.node == l.member.node
		return !stays
	})
	if next == nil {
		endedFollowings.forget()
	}
	switch {
	case stays:
		l.Close()
	case next != nil:
		l.LeaveTo(next.Log)
	default:
		l.Leave()
	}
	return nil
}

// joinFleet returns a hold on the log of the member's fleet, nil if it is in none.
func joinFleet(m member) (*fleetLog, error) {
	if m == (member{}) {
		return nil, nil //nolint:nilnil // no fleet is nothing that has failed
	}
	value, _, err := fleets.LoadOrNew(m, func() (caddy.Destructor, error) {
		config := m.config()
		config.Status = fleetStatusJSON
		config.Events = fleetEvents(m)
		log, err := fleet.Open(config)
		if err != nil {
			return nil, err
		}
		return &fleetLog{log, m}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	return value.(*fleetLog), nil
}

// release ends a hold. The last one leaves the fleet.
func (l *fleetLog) release() error {
	if l == nil {
		return nil
	}
	_, err := fleets.Delete(l.member)
	return err
}

// fleetStatusJSON is what other nodes are answered that ask how this one is.
func fleetStatusJSON() json.RawMessage {
	b, err := json.Marshal(nodeStatusOf(runningHandlers()))
	if err != nil {
		return nil
	}
	return b
}

// logger returns the logger for what happens in the fleet. It belongs to no configuration,
// so it is that of the one that runs at the time.
func (m member) logger() *zap.Logger {
	return caddy.Log().Named("http.handlers.voyo.fleet").With(zap.String("node", m.node))
}

// fleetEvents logs what happens in a fleet.
func fleetEvents(m member) fleet.Events {
	log := m.logger
	return fleet.Events{
		Changed: func(s fleet.Status) {
			switch {
			case s.Reason != "":
				log().Warn("fleet", zap.Bool("connected", s.Connected), zap.Bool("current", s.Current), zap.String("reason", s.Why()))
			case s.Current:
				log().Info("in step with the fleet", zap.Uint64("seq", s.Applied))
			}
		},
		Failed: func(e fleet.Entry, err error) {
			log().Error("could not apply what the fleet has decided",
				zap.String("kind", string(e.Kind)), zap.Uint64("seq", e.Seq), errorField(err))
		},
		Panicked: func(err error) { log().Error("panic in the background", errorField(err)) },
	}
}

// errorField is an error as it is logged. The value of a panic may be anything.
func errorField(err error) zap.Field {
	if p, ok := errors.AsType[*contain.PanicError](err); ok {
		return zap.ByteString("stack", p.Stack)
	}
	return zap.Error(err)
}
