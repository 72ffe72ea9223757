package voyo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/internal/expand"
	"github.com/voyo-music/caddy-voyo/resolver"
)

func init() {
	caddy.RegisterModule(fakeResolver{})
	caddy.RegisterModule(anonymousResolver{})
	caddy.RegisterModule(noResolver{})
}

// fakeResolver has a configuration that says what it trusts and who it is.
type fakeResolver struct {
	Upstream string `json:"upstream,omitempty"`
	Secret   string `json:"secret,omitempty"`

	secret    string
	transport http.RoundTripper
}

func (fakeResolver) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.voyo.resolvers.fake",
		New: func() caddy.Module { return new(fakeResolver) },
	}
}

func (f *fakeResolver) Provision(caddy.Context) (err error) {
	f.secret, err = expand.Value(caddy.NewReplacer(), "secret", f.Secret)
	return err
}

func (f *fakeResolver) Resolve(context.Context, resolver.Asset) (*resolver.Answer, error) {
	return nil, resolver.ErrNotFound
}

func (f *fakeResolver) Hosts() []string {
	if f.Upstream == "" {
		return nil
	}
	return []string{f.Upstream}
}

func (f *fakeResolver) Identity() string                  { return f.Upstream }
func (f *fakeResolver) UseTransport(rt http.RoundTripper) { f.transport = rt }

func (f *fakeResolver) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&f.Upstream) {
		return d.ArgErr()
	}
	return nil
}

// anonymousResolver does not say who it is.
type anonymousResolver struct {
	Settings map[string]any `json:"settings,omitempty"`
}

func (anonymousResolver) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.voyo.resolvers.anonymous",
		New: func() caddy.Module { return new(anonymousResolver) },
	}
}

func (anonymousResolver) Resolve(context.Context, resolver.Asset) (*resolver.Answer, error) {
	return nil, resolver.ErrNotFound
}

// noResolver is in the namespace by mistake.
type noResolver struct{}

func (noResolver) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.voyo.resolvers.none",
		New: func() caddy.Module { return new(noResolver) },
	}
}

func (*noResolver) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

// load loads a handler as Caddy does. unload ends the configuration that it is
// in, as do a reload and the end of the test.
func load(t testing.TB, config string) (h *Handler, unload func(), err error) {
	t.Helper()
	whole, err := caddy.ProvisionContext(&caddy.Config{}) // with nothing in it, so that it need not be ended
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(whole)
	unload = func() {
		if cancel != nil {
			cancel()
		}
		cancel = nil
	}
	t.Cleanup(unload)
	mod, err := ctx.LoadModuleByID("http.handlers.voyo", []byte(config))
	if err != nil {
		return nil, unload, err
	}
	return mod.(*Handler), unload, nil
}

func mustLoad(t testing.TB, config string) (h *Handler, unload func()) {
	t.Helper()
	h, unload, err := load(t, config)
	if err != nil {
		t.Fatal(err)
	}
	return h, unload
}

// statesInUse counts the states that have not been given back.
func statesInUse() int { return inUse(states) }

// storesInUse counts the disks that are open.
func storesInUse() int { return inUse(stores) }

func inUse(pool *caddy.UsagePool) (n int) {
	pool.Range(func(any, any) bool {
		n++
		return true
	})
	return n
}

// withResolver returns a configuration that has a resolver and some settings.
func withResolver(settings string) string {
	config := `{"resolvers": [{"resolver": "fake", "upstream": "media.example:443"}]`
	if settings != "" {
		config += ", " + settings
	}
	return config + "}"
}

func TestDefaults(t *testing.T) {
	for _, settings := range []string{
		``,
		`"art": {}, "stream": {}`,
		`"location_ttl": 0, "art": {"entries": 0, "memory": 0, "ttl": 0, "override_ttl": 0, "max_object": 0}`,
		`"stream": {"memory": 0, "slice": 0, "ttl": 0, "override_ttl": 0, "max_object": 0}`,
	} {
		h, _ := mustLoad(t, withResolver(settings))
		h.artPolicy.Admit = nil // functions can't be compared
		wantArt := fmt.Sprint(cache.Policy{TTL: 24 * time.Hour, NegativeTTL: time.Minute, MaxAge: time.Hour, MaxObject: 10 << 20})
		if got := fmt.Sprint(h.artPolicy); got != wantArt {
			t.Errorf("%s: art policy is %s, want %s", settings, got, wantArt)
		}
		wantStream := fmt.Sprint(cache.Policy{TTL: 720 * time.Hour, NegativeTTL: time.Minute, MaxAge: time.Hour, ReadAhead: 1})
		if got := fmt.Sprint(h.streamPolicy); got != wantStream {
			t.Errorf("%s: stream policy is %s, want %s", settings, got, wantStream)
		}
		if want := (limits{cache.Limits{Entries: 500, Memory: 64 << 20}, cache.Limits{Memory: 256 << 20, Slice: cache.DefaultSlice}, cache.Limits{Memory: 64 << 20}}); h.lease.limits != want {
			t.Errorf("%s: limits are %+v, want %+v", settings, h.lease.limits, want)
		}
		if h.memoTTL != 4*time.Hour || !h.rawIDs || h.publicURL != nil {
			t.Errorf("%s: location_ttl %s, raw IDs %t, public URL %v", settings, h.memoTTL, h.rawIDs, h.publicURL)
		}
	}
}

func TestSettings(t *testing.T) {
	h, _ := mustLoad(t, withResolver(`
		"location_ttl": "90m",
		"raw_ids": false,
		"public_url": "https://edge.voyo.example/base",
		"art": {"entries": 7, "memory": 2097152, "ttl": "2h", "override_ttl": "3h", "negative_ttl": "4m", "max_age": "5m", "max_object": 1048576},
		"stream": {"memory": 3145728, "slice": 65536, "read_ahead": 0, "ttl": "7h", "override_ttl": "8h", "negative_ttl": "9m", "max_age": "6m", "max_object": 4194304}`))
	if h.artPolicy.Admit == nil {
		t.Error("anything is admitted as a cover")
	}
	h.artPolicy.Admit = nil
	want := fmt.Sprint(cache.Policy{TTL: 2 * time.Hour, OverrideTTL: 3 * time.Hour, NegativeTTL: 4 * time.Minute, MaxAge: 5 * time.Minute, MaxObject: 1 << 20})
	if got := fmt.Sprint(h.artPolicy); got != want {
		t.Errorf("art policy is %s, want %s", got, want)
	}
	want = fmt.Sprint(cache.Policy{TTL: 7 * time.Hour, OverrideTTL: 8 * time.Hour, NegativeTTL: 9 * time.Minute, MaxAge: 6 * time.Minute, MaxObject: 4 << 20})
	if got := fmt.Sprint(h.streamPolicy); got != want {
		t.Errorf("stream policy is %s, want %s", got, want)
	}
	if want := (limits{cache.Limits{Entries: 7, Memory: 2 << 20}, cache.Limits{Memory: 3 << 20, Slice: 64 << 10}, cache.Limits{Memory: 64 << 20}}); h.lease.limits != want {
		t.Errorf("limits are %+v, want %+v", h.lease.limits, want)
	}
	if h.memoTTL != 90*time.Minute || h.rawIDs || h.publicURL.String() != "https://edge.voyo.example/base" {
		t.Errorf("location_ttl %s, raw IDs %t, public URL %v", h.memoTTL, h.rawIDs, h.publicURL)
	}
}

// Where zero has a meaning of its own it does not stand for the default.
func TestZero(t *testing.T) {
	h, _ := mustLoad(t, withResolver(`"art": {"negative_ttl": 0, "max_age": 0}, "stream": {"max_age": 0}`))
	if h.artPolicy.NegativeTTL != 0 || h.artPolicy.MaxAge != 0 || h.streamPolicy.MaxAge != 0 {
		t.Errorf("negative_ttl %s, max_age %s and %s", h.artPolicy.NegativeTTL, h.artPolicy.MaxAge, h.streamPolicy.MaxAge)
	}
}

// Little memory is not an error just because the default of max_object is more.
func TestMaxObjectDefault(t *testing.T) {
	h, _ := mustLoad(t, withResolver(`"art": {"memory": 1000}`))
	if h.artPolicy.MaxObject != 1000 {
		t.Errorf("max_object is %d", h.artPolicy.MaxObject)
	}
}

func TestResolvers(t *testing.T) {
	h, _ := mustLoad(t, `{"resolvers": [{"resolver": "fake"}, {"resolver": "anonymous"}, {"resolver": "fake"}]}`)
	var got []string
	for _, r := range h.resolvers {
		got = append(got, r.name+" "+r.display)
	}
	if want := "0/fake fake, 1/anonymous anonymous, 2/fake fake"; strings.Join(got, ", ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if h.resolvers[2].Resolver.(*fakeResolver).transport != h.client {
		t.Error("a resolver was not given the guarded transport")
	}
}

func TestInvalid(t *testing.T) {
	t.Setenv("VOYO_TEST_EMPTY", "")
	t.Setenv("VOYO_TEST_KEY", testLinkKey)
	t.Setenv("VOYO_TEST_SHORT", "sesame78901234x")
	for _, c := range []struct{ settings, want string }{
		{`"location_ttl": "-1s"`, "location_ttl must not be negative: -1s"},
		{`"art": {"entries": -1}`, "art: entries must not be negative: -1"},
		{`"art": {"memory": -1}`, "art: memory must not be negative: -1"},
		{`"art": {"ttl": "-1s"}`, "art: ttl must not be negative"},
		{`"art": {"override_ttl": "-1s"}`, "art: override_ttl must not be negative"},
		{`"art": {"negative_ttl": "-1s"}`, "art: negative_ttl must not be negative"},
		{`"art": {"max_age": "-1s"}`, "art: max_age must not be negative"},
		{`"art": {"max_object": -1}`, "art: max_object must not be negative"},
		{`"art": {"max_object": 1001, "memory": 1000}`, "art: max_object (1001 bytes) exceeds memory (1000 bytes)"},
		{`"art": {"max_object": 67108865}`, "exceeds memory (67108864 bytes)"},
		{`"stream": {"max_age": "-1s"}`, "stream: max_age must not be negative"},
		{`"allowed_origins": ["https://voyo.example/path"]`, "allowed_origins: "},
		{`"allowed_origins": ["{env.VOYO_TEST_EMPTY}"]`, "allowed_origins: environment variable VOYO_TEST_EMPTY is not set"},
		{`"allowed_upstreams": ["bad host"]`, "upstreams: "},
		{`"allowed_upstreams": ["{file./does/not/exist}"]`, "allowed_upstreams: file /does/not/exist is missing"},
		{`"enforce_origins": true`, "enforce_origins needs allowed_origins"},
		{`"public_url": "{env.VOYO_TEST_EMPTY}"`, "public_url: environment variable VOYO_TEST_EMPTY is not set"},
		{`"public_url": "edge.voyo.example"`, "public_url must be an absolute http or https URL"},
		{`"public_url": "/edge"`, "public_url must be an absolute http or https URL"},
		{`"public_url": "ftp://edge.voyo.example"`, "public_url must be an absolute http or https URL"},
		{`"public_url": "https://:443"`, "public_url must be an absolute http or https URL"},
		{`"public_url": "https://edge.voyo.example:port"`, "public_url must be an absolute http or https URL"},
		{`"public_url": "https://u:sesame@edge.voyo.example"`, "public_url must not have a user"},
		{`"public_url": "https://edge.voyo.example?a=b"`, "public_url must not have"},
		{`"public_url": "https://edge.voyo.example?"`, "public_url must not have"},
		{`"public_url": "https://edge.voyo.example#top"`, "public_url must not have"},
		{`"origin": {}`, "origin: url is required"},
		{`"origin": {"url": "{env.VOYO_TEST_EMPTY}"}`, "origin: url: environment variable VOYO_TEST_EMPTY is not set"},
		{`"origin": {"url": "www.voyo.example"}`, "origin: url must be an absolute http or https URL"},
		{`"origin": {"url": "//www.voyo.example"}`, "origin: url must be an absolute http or https URL"},
		{`"origin": {"url": "unix:///run/app"}`, "origin: url must be an absolute http or https URL"},
		{`"origin": {"url": "ftp://u:sesame@www.voyo.example"}`, "origin: url must be an absolute http or https URL"},
		{`"origin": {"url": "https://u:sesame@www.voyo.example:port"}`, "origin: url must be an absolute http or https URL"},
		{`"origin": {"url": "https://:443"}`, "origin: url must be an absolute http or https URL"},
		{`"origin": {"url": "https://www.voyo.example:99999"}`, "upstreams: "},
		{`"origin": {"url": "https://u:sesame@www.voyo.example"}`, "origin: url must not have a user"},
		{`"origin": {"url": "https://www.voyo.example/app"}`, "origin: url must not have"},
		{`"origin": {"url": "https://www.voyo.example//"}`, "origin: url must not have"},
		{`"origin": {"url": "https://www.voyo.example?"}`, "origin: url must not have"},
		{`"origin": {"url": "https://www.voyo.example?sesame"}`, "origin: url must not have"},
		{`"origin": {"url": "https://www.voyo.example/#sesame"}`, "origin: url must not have"},
		{`"origin": {"url": "https://www.voyo.example", "ttl": "-1s"}`, "origin: ttl must not be negative"},
		{`"origin": {"url": "https://www.voyo.example", "max_age": "-1s"}`, "origin: max_age must not be negative"},
		{`"origin": {"url": "https://www.voyo.example", "max_object": -1}`, "origin: max_object must not be negative: -1"},
		{`"origin": {"url": "https://www.voyo.example", "max_object": 67108865}`, "origin: max_object (67108865 bytes) exceeds the memory for pages (67108864 bytes)"},
		{`"origin": {"url": "https://www.voyo.example", "memory": 1}`, `unknown field "memory"`},
		{`"rate_limit": {}`, "rate_limit: requests, lookups or total_lookups is required"},
		{`"rate_limit": {"requests": {}}`, "rate_limit: requests: count must be positive: 0"},
		{`"rate_limit": {"requests": {"count": -1, "window": "1m"}}`, "rate_limit: requests: count must be positive: -1"},
		{`"rate_limit": {"lookups": {"count": 10}}`, "rate_limit: lookups: window must be positive: 0s"},
		{`"rate_limit": {"total_lookups": {"count": 10, "window": "-1m"}}`, "rate_limit: total_lookups: window must be positive: -1m0s"},
		{`"rate_limit": {"requests": {"count": 1, "window": "1m", "burst": 2}}`, `unknown field "burst"`},
		{`"signed_urls": {}`, "signed_urls: at least one key is required"},
		{`"signed_urls": {"keys": [""]}`, "signed_urls: key 1: must be a placeholder such as {env.NAME} or {file./path}"},
		{`"signed_urls": {"keys": ["sesame, open, open!"]}`, "signed_urls: key 1: must be a placeholder such as {env.NAME} or {file./path}"},
		{`"signed_urls": {"keys": ["{env.VOYO_TEST_KEY}sesame"]}`, "signed_urls: key 1: must be a placeholder"},
		{`"signed_urls": {"keys": ["{env.VOYO_TEST_KEY}", "{env.VOYO_TEST_EMPTY}"]}`, "signed_urls: key 2: environment variable VOYO_TEST_EMPTY is not set or empty"},
		{`"signed_urls": {"keys": ["{file./does/not/exist}"]}`, "signed_urls: key 1: file /does/not/exist is missing"},
		{`"signed_urls": {"keys": ["{http.voyo.id}"]}`, "signed_urls: key 1: must be a placeholder such as"},
		{`"signed_urls": {"keys": ["{env.VOYO_TEST_SHORT}"]}`, "signed_urls: key 1: must have at least 16 bytes, and has 15"},
		{`"signed_urls": {"key": "{env.VOYO_TEST_KEY}"}`, `unknown field "key"`},
		{`"shield": {}`, "shield: at least one URL is required"},
		{`"shield": {"urls": ["{env.VOYO_TEST_EMPTY}"]}`, "shield: url 1: environment variable VOYO_TEST_EMPTY is not set"},
		{`"shield": {"urls": ["https://a.example", "b.example"]}`, "shield: url 2 must be an absolute http or https URL"},
		{`"shield": {"urls": ["https://u:sesame@a.example:port"]}`, "shield: url 1 must be an absolute http or https URL"},
		{`"shield": {"urls": ["https://u:sesame@a.example"]}`, "shield: url 1 must not have a user"},
		{`"shield": {"urls": ["https://a.example?sesame"]}`, "shield: url 1 must not have"},
		{`"shield": {"urls": ["https://a.example:99999"]}`, "upstreams: "},
		{`"shield": {"urls": ["https://a.example", "https://b.example", "https://A.example:443/"]}`, "shield: url 3 is the same as url 1"},
		{`"shield": {"urls": ["https://a.example"], "policy": {"policy": "crystal_ball"}}`, "shield: loading policy: "},
		{`"shield": {"urls": ["https://a.example"], "policy": {"policy": "none"}}`, "shield: policy: module *voyo.noPolicy is not a selection policy"},
		{`"shield": {"urls": ["https://a.example"], "policy": {"policy": "cookie", "unheard_of": 1}}`, `unknown field "unheard_of"`},
		{`"shield": {"url": "https://a.example"}`, `unknown field "url"`},
		{`"transport": {"protocol": "carrier_pigeon"}`, "loading transport: "},
		{`"unheard_of": true`, `unknown field "unheard_of"`},
		{`"art": {"unheard_of": true}`, `unknown field "unheard_of"`},
		{`"stream": {"slice": 1}`, `stream: slice must be from 16KiB to 16MiB: 1 bytes`},
		{`"stream": {"slice": 16777217}`, `stream: slice must be from 16KiB to 16MiB: 16777217 bytes`},
		{`"stream": {"read_ahead": -1}`, `stream: read_ahead must be from 0 to 64: -1`},
		{`"stream": {"memory": 1048576}`, `stream: memory (1048576 bytes) must hold at least 8 slices (of 262144 bytes)`},
		{`"stream": {"memory": -1}`, `stream: memory must not be negative: -1`},
		{`"art": {"disk": "/tmp"}`, "cannot unmarshal string"},
		{`"art": {"disk": {"directory": "/tmp"}}`, `unknown field "directory"`},
		{`"art": {"disk": {"size": 1073741824}}`, "art: disk: dir is required"},
		{`"art": {"disk": {"dir": "/x", "size": 12582911}}`, "art: disk: size (12582911 bytes) must be at least 12582912 bytes: max_object and the bookkeeping"},
		{`"art": {"max_object": 1000, "disk": {"dir": "/x", "size": 2098151}}`, "must be at least 2098152 bytes"},
		{`"art": {"disk": {"dir": "/x", "size": -1}}`, "art: disk: size (-1 bytes) must be at least"},
		{`"stream": {"disk": {"dir": "/x"}}`, "stream: disk: size (0 bytes) must be at least 4194304 bytes: 8 slices and the bookkeeping"},
		{`"stream": {"slice": 1048576, "disk": {"dir": "/x", "size": 10485759}}`, "must be at least 10485760 bytes"},
		{`"stream": {"disk": {"dir": "{env.VOYO_TEST_EMPTY}", "size": 1073741824}}`, "stream: disk: dir: environment variable VOYO_TEST_EMPTY is not set"},
		{`"stream": {"disk": {"dir": "/x/{http.voyo.id}", "size": 1073741824}}`, "stream: disk: dir: unknown placeholder {http.voyo.id}"},
	} {
		t.Run(c.settings, func(t *testing.T) {
			checkInvalid(t, withResolver(c.settings), c.want)
		})
	}
	for _, c := range []struct{ resolvers, want string }{
		{`[]`, "at least one resolver is required"},
		{`[{"resolver": "unheard_of"}]`, "loading resolvers: position 0"},
		{`[{"resolver": "fake"}, {"resolver": "none"}]`, "resolvers: position 1: module none (*voyo.noResolver) is not a resolver"},
		{`[{"resolver": "fake", "unheard_of": 1}]`, `unknown field "unheard_of"`},
		{`[{"resolver": "fake", "upstream": "no port"}]`, "upstreams: "},
		{`[{"resolver": "fake", "secret": "{env.VOYO_TEST_EMPTY}"}]`, "secret: environment variable VOYO_TEST_EMPTY"},
	} {
		t.Run(c.resolvers, func(t *testing.T) {
			checkInvalid(t, `{"resolvers": `+c.resolvers+`}`, c.want)
		})
	}
}

// checkInvalid also checks that what failed leaves nothing behind.
func checkInvalid(t *testing.T, config, want string) {
	t.Helper()
	_, unload, err := load(t, config)
	unload()
	if err == nil {
		t.Fatal("was loaded")
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("got %q, want %q", err, want)
	}
	if strings.Contains(err.Error(), "sesame") {
		t.Errorf("password in %q", err)
	}
	if n := statesInUse(); n != 0 {
		t.Errorf("%d states are left", n)
	}
	if n := inUse(healths); n != 0 {
		t.Errorf("%d shields are left", n)
	}
}

func mustURL(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestPlaceholders(t *testing.T) {
	t.Setenv("VOYO_TEST_DOMAIN", "voyo.example")
	name := filepath.Join(t.TempDir(), "upstream")
	if err := os.WriteFile(name, []byte("cdn.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h, _ := mustLoad(t, withResolver(`
		"allowed_origins": ["https://{env.VOYO_TEST_DOMAIN}"],
		"allowed_upstreams": ["*.{file.`+name+`}"],
		"origin": {"url": "http://www.{env.VOYO_TEST_DOMAIN}"},
		"public_url": "https://edge.{env.VOYO_TEST_DOMAIN}",
		"shield": {"urls": ["https://edge.{env.VOYO_TEST_DOMAIN}:8443/base"]}`))
	if !h.origins.has("https://voyo.example") {
		t.Error("the origin is not allowed")
	}
	if got := h.publicURL.String(); got != "https://edge.voyo.example" {
		t.Errorf("public URL is %s", got)
	}
	guard := h.client.(*guardedTransport).guard
	for raw, allowed := range map[string]bool{
		"https://a.cdn.example/": true,
		"https://other.example/": false,
		"https://media.example/": true,
		"http://media.example/":  false, // the resolver's host, but not its port

		"http://www.voyo.example/":      true,
		"http://www.voyo.example:8080/": false,

		"https://edge.voyo.example:8443/other": true,
		"https://edge.voyo.example/base":       false,
	} {
		if _, err := guard.Check(mustURL(t, raw)); errors.Is(err, resolver.ErrForbidden) == allowed {
			t.Errorf("%s: %v", raw, err)
		}
	}
}
