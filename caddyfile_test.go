package voyo

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddytest"
)

// TestCaddyfileAdapt runs the files of testdata/adapt, which have the format of
// Caddy's own: a Caddyfile, a line of dashes, and the JSON that it is adapted to
// or a part of the error.
func TestCaddyfileAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".caddyfiletest"), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			input, want, ok := strings.Cut(string(data), "\n----------\n")
			input, want = strings.TrimSpace(input)+"\n", strings.TrimSpace(want)
			switch {
			case !ok || want == "":
				t.Fatal("nothing is expected")
			case strings.HasPrefix(want, "{"):
				checkAdapted(t, input, want)
			default:
				checkRefused(t, input, want)
			}
		})
	}
}

// checkAdapted also checks that what comes out can be loaded.
func checkAdapted(t *testing.T, input, want string) {
	t.Helper()
	if !caddytest.CompareAdapt(t, "Caddyfile", input, "caddyfile", want) {
		t.Fatal("the JSON differs")
	}
	t.Setenv("VOYO_TEST", "value")
	t.Setenv("VOYO_TEST_KEY", testLinkKey)
	t.Setenv("VOYO_TEST_CREDENTIALS", newCredentials(t))
	var cfg caddy.Config
	if err := json.Unmarshal([]byte(want), &cfg); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&cfg); err != nil {
		t.Errorf("the JSON can't be loaded: %v", err)
	}
	if n := statesInUse(); n != 0 {
		t.Errorf("%d states are left", n)
	}
	if n := storesInUse(); n != 0 {
		t.Errorf("%d disks are open", n)
	}
}

func checkRefused(t *testing.T, input, want string) {
	t.Helper()
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), nil)
	if err == nil {
		t.Fatalf("was adapted to %s, want error %q", adapted, want)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("got error %q, want %q", err, want)
	}
	if !strings.Contains(want, "Caddyfile:") {
		t.Error("the file and the line are not expected")
	}
}

// adaptHandler returns the JSON of the only handler of a Caddyfile.
func adaptHandler(t *testing.T, input string) string {
	t.Helper()
	adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), nil)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("error %v, warnings %v", err, warnings)
	}
	var cfg struct {
		Apps struct {
			HTTP struct {
				Servers struct {
					Srv0 struct {
						Routes []struct {
							Handle []map[string]json.RawMessage `json:"handle"`
						} `json:"routes"`
					} `json:"srv0"`
				} `json:"servers"`
			} `json:"http"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(adapted, &cfg); err != nil {
		t.Fatal(err)
	}
	handler := cfg.Apps.HTTP.Servers.Srv0.Routes[0].Handle[0]
	delete(handler, "handler") // the inline key
	config, err := json.Marshal(handler)
	if err != nil {
		t.Fatal(err)
	}
	return string(config)
}

// A handler does the same, be it written as a Caddyfile or as JSON.
func TestCaddyfileIsJSON(t *testing.T) {
	t.Setenv("VOYO_TEST", "voyo.example")
	t.Setenv("VOYO_TEST_KEY", testLinkKey)
	t.Setenv("VOYO_TEST_CREDENTIALS", newCredentials(t))
	t.Setenv("VOYO_TEST_OLD_KEY", "another key of 16 bytes or more")
	fromCaddyfile, _ := mustLoad(t, adaptHandler(t, `:80 {
	voyo {
		resolver fake media.example:443
		location_ttl 1d
		allowed_origins https://{env.VOYO_TEST} https://*.voyo.example
		enforce_origins
		allowed_upstreams *.{env.VOYO_TEST} 10.0.0.0/8
		raw_ids off
		art {
			entries 7
			memory 2MiB
			ttl 2h
			override_ttl 3h
			negative_ttl 0
			max_age 5m
			max_object 1MB
			disk /var/cache/{env.VOYO_TEST} 4GiB
		}
		stream {
			max_age 0
			disk relative 1GB
		}
		origin https://www.{env.VOYO_TEST}:443/ {
			ttl 1m
			max_object 1MiB
		}
		rate_limit {
			requests 60 1m
			total_lookups 300 1d
		}
		transport http {
			max_conns_per_host 9
		}
		public_url https://edge.{env.VOYO_TEST}/base
		signed_urls {
			key {env.VOYO_TEST_KEY}
			key {env.VOYO_TEST_OLD_KEY}
		}
		shield https://b.{env.VOYO_TEST}:443/base/ http://a.example {
			policy weighted_round_robin 1 2
		}
	}
}
`))
	fromJSON, _ := mustLoad(t, `{
		"resolvers": [{"resolver": "fake", "upstream": "media.example:443"}],
		"location_ttl": "24h",
		"allowed_origins": ["https://voyo.example", "https://*.voyo.example"],
		"enforce_origins": true,
		"allowed_upstreams": ["*.voyo.example", "10.0.0.0/8"],
		"raw_ids": false,
		"art": {"entries": 7, "memory": 2097152, "ttl": "2h", "override_ttl": "3h", "negative_ttl": 0, "max_age": "5m", "max_object": 1000000,
			"disk": {"dir": "/var/cache/voyo.example", "size": 4294967296}},
		"stream": {"max_age": 0, "disk": {"dir": "./relative/", "size": 1000000000}},
		"origin": {"url": "https://www.voyo.example", "ttl": "1m", "max_object": 1048576},
		"rate_limit": {"requests": {"count": 60, "window": "1m"}, "total_lookups": {"count": 300, "window": "24h"}},
		"transport": {"protocol": "http", "max_conns_per_host": 9},
		"public_url": "https://edge.voyo.example/base",
		"signed_urls": {"keys": ["{env.VOYO_TEST_KEY}", "{env.VOYO_TEST_OLD_KEY}"]},
		"shield": {"urls": ["https://b.voyo.example/base", "http://A.example:80"], "policy": {"policy": "weighted_round_robin", "weights": [1, 2]}}
	}`)
	if fromCaddyfile.state != fromJSON.state {
		t.Error("they would fetch different things")
	}
	if got, want := summary(fromCaddyfile), summary(fromJSON); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// summary has all that Provision makes of the settings.
func summary(h *Handler) string {
	h.artPolicy.Admit = nil // functions can't be compared
	rt := httpTransport(h.client.(*guardedTransport))
	var shields []string
	for _, s := range h.shields.list {
		shields = append(shields, s.key())
	}
	policy, _ := json.Marshal(h.shields.policy) // a policy of its own has nothing that can't be
	return fmt.Sprintf("%v %s %v %v %v %v %v %v %v %v %v %v %v %v %v %q %d/%d", shields, policy, len(h.resolvers), h.memoTTL, h.origins, h.EnforceOrigins,
		h.rawIDs, h.lease.limits, h.places, h.artPolicy, h.streamPolicy, h.origin, h.origin.policy, h.publicURL, h.limiter.rates, h.linkKeys, rt.MaxConnsPerHost, rt.MaxIdleConnsPerHost)
}
