package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/voyo-music/caddy-voyo/internal/peer"
)

// tools are what makes load, and how they are asked for their versions.
var tools = map[string]peer.Version{
	"wrk":    {Command: []string{"sh", "-c", "wrk -v; true"}, Pattern: `wrk (\S+)`}, // it calls that a failure
	"h2load": {Command: []string{"h2load", "--version"}, Pattern: `nghttp2/(\S+)`},
}

// printMachine says where it was measured.
func printMachine(w io.Writer) error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	var files [3][]byte
	for i, path := range []string{"/proc/cpuinfo", "/proc/meminfo", "/proc/loadavg"} {
		b, err := os.ReadFile(path) // #nosec G304 -- one of these
		if err != nil {
			return err
		}
		files[i] = b
	}
	_, model, _ := strings.Cut(string(files[0]), "model name\t: ")
	model, _, _ = strings.Cut(model, "\n")
	load := strings.Fields(string(files[2]))
	fmt.Fprintf(w, "%s, on %d cores (%s), %d GiB of memory, Linux %s, %s, over loopback.\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), model, fieldOf(files[1], "MemTotal:")>>20,
		bytes.TrimRight(name.Release[:], "\x00"), runtime.Version())
	fmt.Fprintf(w, "When it began, %s processes were running on average, %s in the last quarter of an hour.\n", load[0], load[2])
	return nil
}

// printServers says what was measured, and with what.
func printServers(ctx context.Context, w io.Writer, of []server, with []workload) error {
	fmt.Fprint(w, "\n| server | version | what |\n| --- | --- | --- |\n")
	for _, s := range of {
		version := ""
		if s.start != nil {
			var err error
			if version, err = s.version.Ask(ctx); err != nil {
				return missing(s.name, err)
			}
		}
		fmt.Fprintf(w, "| %s | %s | %s |\n", s.name, version, s.about)
	}
	asked := make(map[string]bool)
	for _, k := range with {
		if k.tool == "" || asked[k.tool] {
			continue
		}
		asked[k.tool] = true
		version, err := tools[k.tool].Ask(ctx)
		if err != nil {
			return missing(k.tool, err)
		}
		fmt.Fprintf(w, "| %s | %s | makes the load of %s |\n", k.tool, version, k.name)
	}
	return nil
}

func missing(what string, err error) error {
	return fmt.Errorf("%s: %w; .ci/tools beside installs what is missing", what, err)
}
