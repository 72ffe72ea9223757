package netlab

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace, which is there as long as its file is open.
type namespace struct{ file *os.File }

// newNamespace makes one with nothing but a loopback interface that is down.
func newNamespace() (s namespace, err error) {
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("making a network namespace, which needs root: %w", err)
		}
		s.file, err = openOwn()
		return err
	})
	return s, err
}

func (s namespace) close() { _ = s.file.Close() }

// do calls f on a thread in the namespace. The sockets that f makes, though not those
// that goroutines of f make, belong to it for good.
func (s namespace) do(f func() error) error {
	return onThread(func() error {
		if err := enter(s.file); err != nil {
			return err
		}
		return f()
	})
}

// onThread calls f on a thread of its own, which afterwards is where it was before. If
// that can't be done, it ends with its goroutine.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		before, err := openOwn()
		if err != nil {
			done <- err
			return
		}
		defer before.Close()
		err = f()
		if enter(before) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// openOwn opens the namespace that the calling thread is in.
func openOwn() (*os.File, error) { return os.Open("/proc/thread-self/ns/net") }

func enter(space *os.File) error {
	return os.NewSyscallError("setns", unix.Setns(int(space.Fd()), unix.CLONE_NEWNET))
}

// path is where other processes find it as long as this one has it.
func (s namespace) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.file.Fd()) }

// prefix is the beginning of commands that run in it. Each of its programs becomes the next
// one, so that the last is the child that is signalled and waited for. The kernel kills that
// when the thread that has started it ends, which as a rule is when this process does.
func (s namespace) prefix() []string {
	return []string{"setpriv", "--pdeathsig", "KILL", "nsenter", "--net=" + s.path(), "--"}
}
