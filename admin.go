package voyo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/voyo-music/caddy-voyo/resolver"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// maxAdminBody bounds what the admin API is sent, in bytes: some 50,000 IDs.
const maxAdminBody = 1 << 20

// adminAPI is a module that provides VOYO's endpoints for the Caddy admin API, which
// are about the handlers of the configuration that runs.
type adminAPI struct {
	logger *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.voyo",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Provision sets up the module. Caddy does that before it sets up the configuration's
// handlers, so they are looked for when a request comes.
func (a *adminAPI) Provision(ctx caddy.Context) error {
	a.logger = ctx.Logger(a)
	return nil
}

// Routes returns the routes of the endpoints.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/voyo/status", Handler: only(a.serveStatus, http.MethodGet, http.MethodHead)},
		{Pattern: "/voyo/explain", Handler: only(a.serveExplain, http.MethodGet, http.MethodHead)},
		{Pattern: "/voyo/purge", Handler: only(a.servePurge, http.MethodPost)},
		{Pattern: "/voyo/takedown", Handler: only(a.serveTakedown, http.MethodPost)},
		{Pattern: "/voyo/prefetch", Handler: only(a.servePrefetch, http.MethodPost)},
	}
}

// errNoHandlers says that there is nothing to administer.
var errNoHandlers = errors.New("the running configuration has no voyo handler")

// only lets through what has one of the methods, as long as voyo is running.
func only(serve func(http.ResponseWriter, *http.Request, []*Handler) error, methods ...string) caddy.AdminHandler {
	return caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			return refusal(http.StatusMethodNotAllowed, fmt.Errorf("method %s is not allowed", r.Method))
		}
		handlers := runningHandlers()
		if len(handlers) == 0 {
			return refusal(http.StatusNotFound, errNoHandlers)
		}
		return serve(w, r, handlers)
	})
}

// runningHandlers returns the handlers of the configuration that runs, and none of one
// that is loaded and may still fail.
func runningHandlers() []*Handler {
	app, err := caddy.ActiveContext().AppIfConfigured("voyo")
	if err != nil {
		return nil
	}
	return app.(*App).list()
}

// statesOf returns the states of the handlers, each once, in the handlers' order.
func statesOf(handlers []*Handler) (list []*state) {
	for _, h := range handlers {
		if !slices.Contains(list, h.state) {
			list = append(list, h.state)
		}
	}
	return list
}

// firstOfEach returns one handler for each of the states. Those that share a state
// would fetch the same things.
func firstOfEach(handlers []*Handler) (list []*Handler) {
	for _, h := range handlers {
		if !slices.ContainsFunc(list, func(other *Handler) bool { return other.state == h.state }) {
			list = append(list, h)
		}
	}
	return list
}

// refusal makes Caddy answer with an error's text.
func refusal(status int, err error) error {
	return caddy.APIError{HTTPStatus: status, Err: err}
}

// readJSON reads a request's body, which must be one JSON value and have no field that
// is not known.
func readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAdminBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	if err == nil {
		if _, err = dec.Token(); err == nil {
			err = errors.New("more than one JSON value")
		} else if err == io.EOF {
			return nil
		}
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return refusal(http.StatusRequestEntityTooLarge, fmt.Errorf("more than %d bytes", maxAdminBody))
	}
	if err == io.EOF {
		err = errors.New("it is empty")
	}
	return refusal(http.StatusBadRequest, fmt.Errorf("body: %w", err))
}

// parseIDs reads track IDs in either form.
func parseIDs(list []string) ([]resolver.ID, error) {
	ids := make([]resolver.ID, len(list))
	for i, s := range list {
		var err error
		if ids[i], err = resolver.ParseID(s); err != nil {
			return nil, fmt.Errorf("ids: %q: %w", abbreviated(s), err)
		}
	}
	return ids, nil
}

// abbreviated returns what an error can quote of a text of any length.
func abbreviated(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}

// trackNames are a track's ID in both forms.
type trackNames struct {
	ID     string `json:"id"`
	VOYOID string `json:"voyoId"`
}

func namesOf(id resolver.ID) trackNames { return trackNames{id.String(), id.VOYO()} }

// adminJSON is answerJSON for people, who look at it with curl.
func adminJSON(w http.ResponseWriter, r *http.Request, object any) error {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(object); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodHead {
		_, _ = body.WriteTo(w) // the client may have left
	}
	return nil
}

// Interface guards
var (
	_ caddy.AdminRouter = (*adminAPI)(nil)
	_ caddy.Provisioner = (*adminAPI)(nil)
)
