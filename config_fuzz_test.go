package voyo

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// checkProvision loads a handler, if that can be, and ends it: nothing is left, and no
// file was touched, as that is for the configuration's start.
func checkProvision(t *testing.T, config string) {
	t.Helper()
	before := runtime.NumGoroutine()
	_, unload, _ := load(t, config)
	unload()
	if n := statesInUse(); n != 0 {
		t.Errorf("%s leaves %d states", config, n)
	}
	if n := storesInUse(); n != 0 {
		t.Errorf("%s opens %d disks", config, n)
	}
	if n := inUse(healths); n != 0 {
		t.Errorf("%s leaves %d shields", config, n)
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("%s makes %v, %v", config, left, err)
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%s leaves %d goroutines, not %d", config, runtime.NumGoroutine(), before)
		}
	}
}

// readsFiles reports whether Caddy itself reads files, or asks hosts, to load a
// configuration: it has placeholders for files, and its transport has certificates.
func readsFiles(config string) bool {
	var value any
	if json.Unmarshal([]byte(config), &value) != nil {
		return false // so that it is loaded and refused
	}
	canonical, err := json.Marshal(value)
	text := strings.ToLower(string(canonical))
	return err != nil || strings.Contains(text, "{file.") || strings.Contains(text, `"tls":`)
}

// FuzzConfig loads handlers of any JSON.
func FuzzConfig(f *testing.F) {
	for _, settings := range []string{
		``, `"location_ttl": "1d", "raw_ids": false, "enforce_origins": true, "allowed_origins": ["https://*.voyo.example"]`,
		`"art": {"entries": 7, "memory": 2097152, "max_age": 0, "disk": {"dir": "a", "size": 999999999}}, "public_url": "https://e.example/b"`,
		`"stream": {"slice": 65536, "read_ahead": 0, "disk": {"dir": "{env.HOME}/x", "size": 4294967296}}, "origin": {"url": "http://a.example", "ttl": "1m"}`,
		`"rate_limit": {"requests": {"count": 60, "window": "1m"}}, "allowed_upstreams": ["*.a.example", "10.0.0.0/8"]`,
		`"transport": {"protocol": "http", "max_conns_per_host": -1, "versions": ["1.1", "2", "h2c"], "resolver": {"addresses": ["127.0.0.1"]}}`,
		`"shield": {"urls": ["https://a.example/b", "http://{env.HOME}"], "policy": {"policy": "cookie", "fallback": {"policy": "first"}}}`,
		`"transport": {"protocol": "fastcgi"}`, `"allowed_upstreams": ["{system.hostname}"]`, `"unknown": null`,
	} {
		f.Add(withResolver(settings))
	}
	for _, resolvers := range []string{
		`{"resolver": "template", "audio": ["http://a.example/{http.voyo.id}.opus"]}`, `{"resolver": "anonymous", "settings": {"a": ["{env.HOME}"]}}`,
		`{"resolver": "api", "url": "http://a.example/", "format": "piped", "headers": {"A": ["{env.HOME}"]}, "timeout": "1s"}`,
		`{"resolver": "s3", "endpoint": "http://a.example", "bucket": "b", "audio": ["{http.voyo.id}"], "access_key": "{env.HOME}", "secret_key": "{env.HOME}"}`,
		`{"resolver": "none"}`, `null`, `{}`,
	} {
		f.Add(`{"resolvers": [` + resolvers + `]}`)
	}
	for _, s := range []string{"null", "[]", `{"resolvers": null}`, "{", ""} {
		f.Add(s)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, config string) {
		t.Chdir(dir)
		if !readsFiles(config) {
			checkProvision(t, config)
		}
	})
}

// blocksOf returns the voyo blocks of the Caddyfiles that the tests adapt.
func blocksOf(f *testing.F) (blocks []string) {
	f.Helper()
	names, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(names) == 0 {
		f.Fatalf("no files: %v", err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		site, _, _ := strings.Cut(string(text), "\n----------")
		if _, block, ok := strings.Cut(site, "voyo {\n"); ok {
			block, _, _ = strings.Cut(block, "\n\t}")
			blocks = append(blocks, block)
		}
	}
	return blocks
}

// FuzzCaddyfile reads any block. What is refused is told with file and line. What is not
// is JSON of a handler that reads the same, which can be loaded or not.
func FuzzCaddyfile(f *testing.F) {
	for _, block := range blocksOf(f) {
		f.Add(block)
	}
	f.Add("resolver template {\n audio `http://a.example/{http.voyo.id}`\n}\nstream {\n memory 16EiB\n ttl 1h1d\n}")
	f.Add("resolver fake a:1\nart {\n disk \"\" 1\n}\nrate_limit {\n lookups 1 0\n}\ntransport http {\n versions 1.1\n}")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, block string) {
		t.Chdir(dir)
		tokens, err := caddyfile.Tokenize([]byte("voyo {\n"+block+"\n}\n"), "Caddyfile")
		if err != nil {
			return
		}
		h := new(Handler)
		if err := h.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err != nil {
			if !strings.Contains(err.Error(), "Caddyfile:") {
				t.Errorf("%q: %v", block, err)
			}
			return
		}
		config, err := json.Marshal(h)
		if err != nil {
			t.Fatalf("%q: %v", block, err)
		}
		var again Handler
		if err := caddy.StrictUnmarshalJSON(config, &again); err != nil {
			t.Fatalf("%q is %s: %v", block, config, err)
		}
		if twice, err := json.Marshal(again); err != nil || !bytes.Equal(twice, config) {
			t.Errorf("%q is %s, and then %s, %v", block, config, twice, err)
		}
		if !readsFiles(string(config)) {
			checkProvision(t, string(config))
		}
	})
}
