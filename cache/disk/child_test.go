package disk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childEnv says what a child process of a test is to do, with its arguments.
const childEnv = "VOYO_DISK_TEST_CHILD"

// startChild runs the test binary as a child that does something, and returns what
// it says.
func startChild(t *testing.T, uid int, what ...string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.Command(exe)
	if uid != 0 { // it may not read the directory that the binary is in
		b, err := os.ReadFile(exe)
		must(t, err)
		public, err := os.MkdirTemp("/tmp", "voyo-disk-test-")
		must(t, err, os.Chmod(public, 0o755))
		t.Cleanup(func() { os.RemoveAll(public) })
		cmd.Path = filepath.Join(public, "test")
		must(t, os.WriteFile(cmd.Path, b, 0o755))
		cmd.Dir = public
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(what, "\n"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err, cmd.Start())
	return cmd, bufio.NewReader(out)
}

// child is the child's main.
func child(what string) int {
	arg := strings.Split(what, "\n")
	s, err := Open(arg[1], 40<<20, Events{})
	if err != nil {
		fmt.Println(errors.Is(err, ErrInUse), err)
		return 1
	}
	fmt.Println("opened")
	switch arg[0] {
	case "write":
		writeAll(s, arg[2])
	case "note":
		writeNotes(s)
	case "hold":
		_, _ = io.ReadAll(os.Stdin)
		select {}
	}
	return 0
}

// writeNotes replaces a note until it is killed, and says what it knows to be kept.
func writeNotes(s *Store) {
	for i := 1; ; i++ {
		if err := s.SetNote(NewID("kill", "note"), noteText(i)); err != nil {
			fmt.Println("failed", err)
			return
		}
		fmt.Println(i)
	}
}

// noteText is one of many notes of different lengths, each of which shows whether it is
// all there.
func noteText(i int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%d ", i), 1+i%7*1000)
}

// writeAll writes objects until it is killed, and says which it begins, and of which
// slices it knows that they are written.
func writeAll(s *Store, round string) {
	rnd := rand.New(rand.NewPCG(uint64(os.Getpid()), 0))
	for i := 0; ; i++ {
		key := fmt.Sprintf("%s/%d", round, i%50)
		id := NewID("kill", key)
		version := fmt.Sprint(i)
		fmt.Printf("%s %s -1\n", key, version) // from here on, older ones may be gone
		o := s.Create(id, []byte(key+" "+version), i%3 == 0)
		var parts []Slice
		for j := range int64(1 + rnd.IntN(5)) {
			parts = append(parts, Slice{j, content(id, version, j, sizeOf(version, j))})
		}
		o.Put(parts...)
		if rnd.IntN(4) == 0 {
			o.SetMeta([]byte(key + " " + version + " "))
		}
		if rnd.IntN(3) == 0 {
			s.Flush()
			for _, p := range parts {
				fmt.Printf("%s %s %d\n", key, version, p.Index)
			}
		}
	}
}

func sizeOf(version string, j int64) int {
	return (int(version[len(version)-1])*7919 + int(j)*104_729) % 60_000
}

// Whenever the process is killed, what is there afterwards is right, and nothing is
// missing that was written.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	reported, missing := 0, 0
	for round := range 12 {
		cmd, out := startChild(t, 0, "write", dir, fmt.Sprint(round))
		line, err := out.ReadString('\n')
		if err != nil || line != "opened\n" {
			t.Fatal(line, err)
		}
		last := make(map[string]string) // version by key
		said := make(map[string]bool)
		timer := time.AfterFunc(time.Duration(20+rand.IntN(250))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		for {
			line, err := out.ReadString('\n')
			if err != nil {
				break
			}
			var key, version string
			var j int64
			if _, err := fmt.Sscan(line, &key, &version, &j); err != nil {
				t.Fatal(err)
			}
			last[key] = version
			said[strings.TrimSpace(line)] = true
		}
		timer.Stop()
		_ = cmd.Wait()
		s, l := openTest(t, dir, 40<<20)
		if l.count("damaged") > 0 {
			t.Error(l.lines)
		}
		n, m := afterKill(t, s, fmt.Sprint(round), last, said)
		reported, missing = reported+n, missing+m
		s.Close()
	}
	t.Logf("%d slices were reported, %d of them are missing", reported, missing)
	if missing > 0 || reported == 0 {
		t.Error("slices that were written are missing")
	}
}

// TestNoteAfterKill kills a process while it replaces a note: what it has said to be kept
// is there, or what it was about to keep, and all of it.
func TestNoteAfterKill(t *testing.T) {
	dir := t.TempDir()
	for range 8 {
		cmd, out := startChild(t, 0, "note", dir)
		if line, err := out.ReadString('\n'); err != nil || line != "opened\n" {
			t.Fatal(line, err)
		}
		timer := time.AfterFunc(time.Duration(20+rand.IntN(200))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		said := 0
		for {
			var n int
			if _, err := fmt.Fscanln(out, &n); err != nil {
				break
			}
			said = n
		}
		timer.Stop()
		_ = cmd.Wait()
		s, _ := openTest(t, dir, 40<<20)
		note, err := s.Note(NewID("kill", "note"))
		var kept int
		_, _ = fmt.Sscan(string(note), &kept)
		if err != nil || kept == 0 || !bytes.Equal(note, noteText(kept)) || said > 0 && kept != said && kept != said+1 {
			t.Errorf("%d was said to be kept, and %d bytes of %d are: %v", said, len(note), kept, err)
		}
		s.Close()
	}
}

// afterKill checks what is there, and returns how many slices were reported that
// should be, and how many of them are not.
func afterKill(t *testing.T, s *Store, round string, last map[string]string, said map[string]bool) (reported, missing int) {
	t.Helper()
	s.check(t)
	if entries, err := os.ReadDir(filepath.Join(s.dir, temps)); err != nil || len(entries) > 0 {
		t.Error(entries, err)
	}
	for i := range 50 {
		key := fmt.Sprintf("%s/%d", round, i)
		id := NewID("kill", key)
		o, meta, err := s.Load(id)
		version := ""
		if err == nil {
			version = strings.Fields(string(meta))[1]
		}
		for j := range int64(6) {
			there := err == nil && o.Has(j)
			if said[fmt.Sprintf("%s %s %d", key, last[key], j)] {
				reported++
				if !there || version != last[key] {
					missing++
				}
			}
			if !there {
				continue
			}
			if b, err := read(t, o, j); err != nil || !bytes.Equal(b, content(id, version, j, sizeOf(version, j))) {
				t.Errorf("%s: %d bytes, %v", key, len(b), err)
			}
		}
	}
	return reported, missing
}

// A directory has one store at a time.
func TestInUse(t *testing.T) {
	dir := memDir(t)
	s, _ := openTest(t, dir, noLimit)
	fill(s, "x", false, 1, 10)
	link := filepath.Join(memDir(t), "link")
	must(t, os.Symlink(dir, link))
	for _, path := range []string{dir, link} {
		if _, err := Open(path, noLimit, Events{}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), path) {
			t.Error(err)
		}
	}
	cmd, out := startChild(t, 0, "hold", dir)
	if line, _ := out.ReadString('\n'); !strings.HasPrefix(line, "true ") || !strings.Contains(line, dir) {
		t.Errorf("the child says %q", line)
	}
	_ = cmd.Wait()
	wantLoad(t, s, NewID("test", "x"), "x")
	s.Close()

	cmd, out = startChild(t, 0, "hold", dir)
	if line, _ := out.ReadString('\n'); line != "opened\n" {
		t.Errorf("the child says %q", line)
	}
	if _, err := Open(dir, noLimit, Events{}); !errors.Is(err, ErrInUse) {
		t.Error(err)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	s, _ = openTest(t, dir, noLimit)
	wantLoad(t, s, NewID("test", "x"), "x")
}

// A directory that may not be written, or not be made, is refused.
func TestOpenNotAllowed(t *testing.T) {
	const nobody = 65534
	dir, err := os.MkdirTemp("/tmp", "voyo-disk-test-")
	must(t, err, os.Chmod(dir, 0o755))
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, _ := openTest(t, filepath.Join(dir, "cache"), noLimit)
	s.Close()
	must(t, os.Chmod(filepath.Join(dir, "cache"), 0o755))
	for _, name := range []string{"new", "cache"} {
		path := filepath.Join(dir, name)
		cmd, out := startChild(t, nobody, "hold", path)
		if line, _ := out.ReadString('\n'); !strings.HasPrefix(line, "false ") || !strings.Contains(line, "permission denied") || !strings.Contains(line, path) {
			t.Errorf("the child says %q", line)
		}
		_ = cmd.Wait()
	}
}
