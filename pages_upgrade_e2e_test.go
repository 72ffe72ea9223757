package voyo_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	voyo "github.com/voyo-music/caddy-voyo"
)

const upgradeRequest = "GET /socket HTTP/1.1\nHost: www.test\nConnection: Upgrade\nUpgrade: echo\nX-Custom: 1\n\n"

// echoing is an origin that switches to a protocol which repeats every line, and ends
// with "bye". closed gets a value when a client has left.
func echoing(t *testing.T) (o *origin, closed chan struct{}) {
	t.Helper()
	closed = make(chan struct{}, 1)
	o = newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "echo" || r.Header.Get("Connection") != "Upgrade" {
			http.Error(w, "not an upgrade", http.StatusUpgradeRequired)
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Origin: yes\r\n\r\nhello\n")
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				closed <- struct{}{}
				return
			}
			if line == "bye\n" {
				return
			}
			_, _ = io.WriteString(conn, line)
		}
	})
	return o, closed
}

// upgraded opens a connection that has been upgraded.
func (e *edge) upgraded(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, from := e.raw(t, upgradeRequest)
	resp := readRaw(t, from, "GET")
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != "echo" || resp.Header.Get("X-Origin") != "yes" {
		t.Fatalf("got %s, %v", resp.Status, resp.Header)
	}
	checkLine(t, from, "hello\n")
	return conn, from
}

func checkLine(t *testing.T, from *bufio.Reader, want string) {
	t.Helper()
	if line, err := from.ReadString('\n'); err != nil || line != want {
		t.Errorf("got %q, error %v, want %q", line, err, want)
	}
}

// checkClosed waits for the end of a connection.
func checkClosed(t *testing.T, from *bufio.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(from); err != nil || len(rest) > 0 {
		t.Errorf("got %q, error %v", rest, err)
	}
}

func TestOriginUpgrade(t *testing.T) {
	o, closed := echoing(t)
	e := startGateway(t, o.URL, "log_append voyo_cache {http.voyo.cache}")

	conn, from := e.upgraded(t)
	for _, line := range []string{"one\n", "two\n"} {
		if _, err := io.WriteString(conn, line); err != nil {
			t.Fatal(err)
		}
		checkLine(t, from, line)
	}
	conn.Close()
	await(t, "the origin knows that the client has left", closed)

	conn, from = e.upgraded(t)
	if _, err := io.WriteString(conn, "bye\n"); err != nil {
		t.Fatal(err)
	}
	checkClosed(t, from)

	r := o.asked("/socket")[0]
	if r.Header.Get("X-Custom") != "1" || r.Header.Get("Via") == "" || r.Header.Get("X-Forwarded-Host") != "www.test" {
		t.Errorf("the origin got %v", r.Header)
	}
	eventually(t, "both are logged", func() bool {
		logged := e.log(t)
		return strings.Count(logged, `"status":101`) == 2 && strings.Count(logged, `"voyo_cache":"pass"`) == 2
	})
}

// What a client sends before it knows that the connection is upgraded gets there, too.
func TestOriginUpgradeEarly(t *testing.T) {
	o, _ := echoing(t)
	e := startGateway(t, o.URL, "header X-Edge yes")
	_, from := e.raw(t, upgradeRequest+"early\n")
	resp := readRaw(t, from, "GET")
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("X-Edge") != "yes" || len(resp.Header["X-Origin"]) != 1 {
		t.Fatalf("got %s, %v", resp.Status, resp.Header)
	}
	checkLine(t, from, "hello\n")
	checkLine(t, from, "early\r\n")
}

// An origin may decline, and what it is not asked for it must not do.
func TestOriginUpgradeDeclined(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "other")
		w.WriteHeader(http.StatusSwitchingProtocols)
	})
	e := startGateway(t, o.URL, "")
	for _, c := range []struct {
		request string
		status  int
	}{
		{"GET /no HTTP/1.1\nHost: www.test\nConnection: Upgrade\nUpgrade: echo\n\n", http.StatusForbidden},
		{"GET /other HTTP/1.1\nHost: www.test\nConnection: Upgrade\nUpgrade: echo\n\n", http.StatusBadGateway},
		{"GET /unasked HTTP/1.1\nHost: www.test\n\n", http.StatusBadGateway},
		{"POST /unasked HTTP/1.1\nHost: www.test\nContent-Length: 0\n\n", http.StatusBadGateway},
		{"POST /no HTTP/1.1\nHost: www.test\nConnection: Upgrade\nUpgrade: h2c\nContent-Length: 0\n\n", http.StatusForbidden},
	} {
		_, from := e.raw(t, c.request)
		if resp := readRaw(t, from, "GET"); resp.StatusCode != c.status {
			t.Errorf("%q: got %s, want %d", c.request, resp.Status, c.status)
		}
	}
	for _, r := range o.asked("/no") {
		if r.Method == http.MethodPost && r.Header.Get("Upgrade") != "" {
			t.Errorf("h2c is asked for: %v", r.Header)
		}
	}
}

// An upgraded connection ends with its configuration, or it would keep the caches of
// one that is gone.
func TestOriginUpgradeEndsWithReload(t *testing.T) {
	o, closed := echoing(t)
	e := startGateway(t, o.URL, "")
	_, from := e.upgraded(t)
	if err := e.load(t, "respond gone"); err != nil {
		t.Fatal(err)
	}
	checkClosed(t, from)
	await(t, "the origin's connection is closed", closed)
}

// Whatever way requests and upgrades end, they leave no goroutine behind.
func TestOriginLeaksNothing(t *testing.T) {
	o, closed := echoing(t)
	e := startGateway(t, o.URL, "")
	e.get(t, "/warm") // what is started once
	e.stop(t)
	e.client.CloseIdleConnections()
	o.CloseClientConnections()
	leaks := goleak.IgnoreCurrent()
	for range 3 {
		e = startGateway(t, o.URL, "")
		for range 5 {
			conn, _ := e.upgraded(t)
			conn.Close()
			await(t, "the origin knows that the client has left", closed)
			e.upload(t, "POST", "/post", strings.NewReader("body"), nil).Body.Close()
			conn, _ = e.raw(t, "POST / HTTP/1.1\nHost: www.test\nContent-Length: 10\n\nx")
			conn.Close()
		}
		conn, from := e.upgraded(t)
		e.stop(t)
		checkClosed(t, from)
		conn.Close()
		await(t, "the origin's connection is closed", closed)
		e.client.CloseIdleConnections()
	}
	o.CloseClientConnections()
	eventually(t, "no state is in use", func() bool { return voyo.StatesInUse() == 0 })
	goleak.VerifyNone(t, leaks,
		// it sleeps for 5 seconds before it sees that its lock is gone
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
}
