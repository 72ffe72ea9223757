package netlab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 30 * time.Second

func newLab(t *testing.T, hosts int) (*Lab, []*Host) {
	t.Helper()
	l, err := New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	var all []*Host
	for range hosts {
		h, err := l.Host(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, h)
	}
	return l, all
}

// pair returns the two ends of a connection from one host to another.
func pair(t *testing.T, from, to *Host) (client, server net.Conn) {
	t.Helper()
	l, err := to.Listen(t.Context(), 80)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = from.DialContext(t.Context(), "tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// dial tries to connect, and returns context.DeadlineExceeded if it hears nothing.
func dial(t *testing.T, from *Host, address string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	c, err := from.DialContext(ctx, "tcp", address)
	if err == nil {
		c.Close()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return err
}

// say sends a line, which has to arrive.
func say(t *testing.T, from, to net.Conn, line string) {
	t.Helper()
	if _, err := io.WriteString(from, line); err != nil {
		t.Fatal(err)
	}
	hear(t, to, line)
}

func hear(t *testing.T, c net.Conn, line string) {
	t.Helper()
	got := make([]byte, len(line))
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != line {
		t.Fatalf("got %q, %v, want %q", got, err, line)
	}
}

// Hosts reach each other, and nobody from another network reaches them.
func TestHosts(t *testing.T) {
	_, hosts := newLab(t, 3)
	_, others := newLab(t, 3)
	for i, h := range hosts {
		client, server := pair(t, h, hosts[(i+1)%3])
		say(t, client, server, "there")
		say(t, server, client, "and back")
		if got := client.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); got != h.Addr() {
			t.Errorf("%s calls from %s", h.Addr(), got)
		}
	}
	l, err := hosts[0].Listen(t.Context(), 80)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if dial(t, others[1], l.Addr().String()) == nil {
		t.Error("reached from another lab")
	}
}

// What is sent to a host that is cut off is lost, without a word, until it is back.
func TestCut(t *testing.T) {
	_, hosts := newLab(t, 3)
	client, server := pair(t, hosts[0], hosts[1])
	say(t, client, server, "before")
	beside, itself := pair(t, hosts[1], hosts[1])
	for _, cut := range []*Host{hosts[1], hosts[0]} {
		if err := cut.Cut(t.Context()); err != nil {
			t.Fatal(err)
		}
		// no error on either side, and nothing arrives
		for _, c := range []net.Conn{client, server} {
			if _, err := io.WriteString(c, "during"); err != nil {
				t.Errorf("sending to a host that is cut off: %v", err)
			}
		}
		_ = server.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if n, err := server.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes, %v", n, err)
		}
		if err := dial(t, hosts[2], cut.Addr().String()+":80"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dialing a host that is cut off: %v", err)
		}
		say(t, beside, itself, "it reaches itself")
		if err := cut.Heal(t.Context()); err != nil {
			t.Fatal(err)
		}
		hear(t, server, "during")
		hear(t, client, "during")
		say(t, client, server, "after")
	}
}

// Programs run on their host, and are the children that are waited for.
func TestCommand(t *testing.T) {
	_, hosts := newLab(t, 2)
	for _, h := range hosts {
		out, err := h.Command(t.Context(), "ip", "-brief", "-4", "addr", "show", "dev", "eth0").Output()
		if err != nil || !strings.Contains(string(out), h.Addr().String()+"/24") {
			t.Errorf("%q, %v", out, err)
		}
	}
	cmd := hosts[0].Command(t.Context(), "sh", "-c", "echo $$; exit 7")
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 7 || strings.TrimSpace(string(out)) != fmt.Sprint(cmd.Process.Pid) {
		t.Errorf("process %d says %q, %v", cmd.Process.Pid, out, err)
	}
}

// TestMain also is the program that makes a lab and is killed, see TestKilled.
func TestMain(m *testing.M) {
	if os.Getenv("NETLAB_TEST_CHILD") == "" {
		os.Exit(m.Run())
	}
	ctx := context.Background()
	l, err := New(ctx)
	if err != nil {
		panic(err)
	}
	h, err := l.Host(ctx)
	if err != nil {
		panic(err)
	}
	cmd := h.Command(ctx, "sleep", "1000")
	cmd.Stdout = os.Stdout // which is closed when it has ended
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	fmt.Println("ready")
	select {}
}

// However a process ends, nothing is left of its labs.
func TestKilled(t *testing.T) {
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), "NETLAB_TEST_CHILD=1")
	child.Stderr = t.Output()
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewReader(out)
	if line, err := said.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if err := child.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := said.ReadByte() // nobody has the other end any more
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != io.EOF {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("what ran in the lab still runs")
	}
	_ = child.Wait() // it was killed
}
