package voyo_test

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/voyo-music/caddy-voyo/internal/natstest"
)

// TestScripts plays what people type. Each script has an edge of its own, at $EDGE, with
// an admin API at $ADMIN and the tracks of trackFiles, and the commands that TestScripts
// adds to testscript's. The one about fleets has a server of NATS at $NATS.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts", err)
	}
	program := filepath.Dir(caddyProgram(t))
	for _, script := range scripts {
		t.Run(filepath.Base(script), func(t *testing.T) {
			up := fileOrigin(t, trackFiles())
			site := func(more string) string { return "voyo {\n" + template(up.URL) + "\nraw_ids on\n" + more + "\n}" }
			e := startAdminEdge(t, site(""))
			nats := ""
			if filepath.Base(script) == "fleet.txtar" {
				nats = natstest.Start(t, 1).URLs()[0]
			}
			testscript.Run(t, testscript.Params{
				Files:               []string{script},
				RequireExplicitExec: true,
				Setup: func(env *testscript.Env) error {
					env.Setenv("PATH", program+string(os.PathListSeparator)+env.Getenv("PATH"))
					env.Setenv("ADMIN", e.admin)
					env.Setenv("EDGE", e.url)
					env.Setenv("HOME", env.WorkDir)
					return nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"exitcode": exitCode,
					"get":      e.scriptGet,
					"reload": func(ts *testscript.TestScript, neg bool, args []string) {
						if neg || len(args) != 1 {
							ts.Fatalf("usage: reload <file with more of the voyo block>")
						}
						// the edge does not run in the script's directory
						more := strings.NewReplacer("$WORK", ts.Getenv("WORK"), "$NATS", nats).Replace(ts.ReadFile(args[0]))
						ts.Check(e.load(t, site(more)))
						if strings.Contains(more, "fleet") {
							e.awaitFleet(t, "")
						}
					},
				},
			})
		})
	}
}

// exitCode runs a command that must end with a status: exitcode 2 caddy voyo nonsense
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode <status> <command>...")
	}
	// in its shell, as testscript only tells whether a command has failed
	quoted := make([]string, len(args)-1)
	for i, arg := range args[1:] {
		quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	ts.Check(ts.Exec("sh", "-c", strings.Join(quoted, " ")+"; test $? -eq "+args[0]))
}

// scriptGet gets a path of the edge, and checks what Cache-Status says of it:
// get <path> hit
func (e *edge) scriptGet(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: get <path> <words of Cache-Status>")
	}
	for deadline := time.Now().Add(patience); ; {
		resp, err := e.client.Get(e.url + args[0])
		ts.Check(err)
		_, err = io.Copy(io.Discard, resp.Body)
		ts.Check(errors.Join(err, resp.Body.Close()))
		status := resp.Header.Get("Cache-Status")
		if strings.Contains(status, args[1]) != neg {
			return
		}
		// whoever has all of a track may be ahead of the cache, which waits for its end
		if !strings.Contains(status, "collapsed") || time.Now().After(deadline) {
			ts.Fatalf("get %s: %d, Cache-Status: %s", args[0], resp.StatusCode, status)
		}
	}
}

// TestWatchEnds interrupts somebody who watches, as Ctrl-C does.
func TestWatchEnds(t *testing.T) {
	e := startAdminEdge(t, "voyo {\n"+template("http://upstream.invalid")+"\n}")
	cmd := exec.CommandContext(t.Context(), caddyProgram(t), "voyo", "status", "--watch", "--interval", "1h", "--address", e.admin)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, " healthy ") {
		t.Errorf("%v: %q", err, line)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || strings.Contains(said.String(), "Error") {
		t.Errorf("%v: %s", err, said.String())
	}
}

// TestWatchOnTerminal watches in tmux, as operators do, while a track plays and is purged.
func TestWatchOnTerminal(t *testing.T) {
	up := fileOrigin(t, trackFiles())
	e := startAdminEdge(t, "voyo {\n"+template(up.URL)+"\n}")
	socket := filepath.Join(t.TempDir(), "tmux")
	tmux := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), tool(t, "tmux"), append([]string{"-S", socket, "-f", os.DevNull}, args...)...)
		cmd.Env = append(os.Environ(), "TERM=xterm-256color", "LC_ALL=C.UTF-8")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	tmux("new-session", "-d", "-x", "160", "-y", "40", caddyProgram(t)+" voyo status --watch --interval 20ms --address "+e.admin+"; echo it has ended; cat")
	defer tmux("kill-server")
	seen := func(what string) {
		t.Helper()
		pattern := regexp.MustCompile(what)
		eventually(t, what, func() bool { return pattern.MatchString(tmux("capture-pane", "-p")) })
	}
	seen(`(?s)healthy.*stream +0 +0 +- .*requests/s=0\.0 sent/s=0B`)
	e.mustGet(t, "/cdn/stream/"+songID, trackFiles()["/128/"+songID+".opus"])
	seen(`stream +0 +1 +0\.0% +1 `)
	e.administer(t, http.MethodPost, "/voyo/purge", `{"all": true}`, &struct{}{})
	e.mustGet(t, "/cdn/stream/"+songID, trackFiles()["/128/"+songID+".opus"])
	seen(`stream +0 +2 +0\.0% +1 `)
	tmux("send-keys", "C-c")
	seen("it has ended")
}
