package peer

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

// TestMain also is the program that the tests start: it says what its configuration has.
func TestMain(m *testing.M) {
	if len(os.Args) < 3 || os.Args[1] != "serve" {
		os.Exit(m.Run())
	}
	text, err := os.ReadFile(os.Args[2])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	listen, _, _ := strings.Cut(string(text), "\n")
	fmt.Println("open for all")
	err = http.ListenAndServe(listen, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(text) }))
	fmt.Println(err)
	os.Exit(1)
}

func TestDaemon(t *testing.T) {
	d := Daemon{Name: "some", Command: []string{os.Args[0], "serve"}, Ready: regexp.MustCompile(`open for (\w+)`)}
	dir := t.TempDir()
	configs := fstest.MapFS{
		"some/conf":  {Data: []byte("127.0.0.1:{{.Port}}\n{{.Dir}} {{.Origin}} {{.OriginPort}} {{.TLSPort}}")},
		"other/conf": {Data: []byte("127.0.0.1:1")},
	}
	p, err := d.With("{{.Dir}}/conf").Start(t.Context(), dir, "127.0.0.1:9", configs)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	if p.Ready != "all" {
		t.Errorf("it is ready as %q", p.Ready)
	}
	resp, err := http.Get("http://" + p.Addr[0])
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	want := p.Addr[0] + "\n" + dir + " 127.0.0.1:9 9 " + strings.TrimPrefix(p.Addr[1], "127.0.0.1:")
	if err != nil || string(got) != want {
		t.Errorf("it was told %q, not %q, %v", got, want, err)
	}
}

// A program that ends in the place of being ready is an error that has what it said.
func TestDaemonEnds(t *testing.T) {
	for name, ready := range map[string]*regexp.Regexp{"says when": regexp.MustCompile("open"), "has to be asked": nil} {
		t.Run(name, func(t *testing.T) {
			d := Daemon{Name: "some", Command: []string{os.Args[0], "serve", "{{.Dir}}/missing"}, Ready: ready}
			_, err := d.Start(t.Context(), t.TempDir(), "127.0.0.1:9", fstest.MapFS{})
			if err == nil || !strings.Contains(err.Error(), "missing: no such file") {
				t.Error(err)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	v := Version{[]string{"go", "version"}, `go version go(\S+)`}
	if got, err := v.Ask(t.Context()); err != nil || got == "" {
		t.Error(got, err)
	}
	v.Pattern = "rust"
	if got, err := v.Ask(t.Context()); err == nil {
		t.Error(got)
	}
	v.Command = []string{"no-such-program"}
	if _, err := v.Ask(t.Context()); !errors.Is(err, os.ErrNotExist) && !strings.Contains(fmt.Sprint(err), "not found") {
		t.Error(err)
	}
}
