//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lock locks a directory, until it is closed. There is no file that could be left
// behind, or could not be made on a full disk.
func lock(dir *os.File) error {
	err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrInUse
	}
	return err
}

// openRegular opens a regular file of a size, any if it is below zero, and returns
// its ctime, too. It follows no link, and does not wait for whoever is at the other
// end of a pipe.
func openRegular(path string, size int64) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0) //nolint:gosec // it is in the configured directory
	if err != nil {
		if irregular(path) {
			err = fmt.Errorf("%w: not a regular file", ErrDamaged)
		}
		return nil, 0, err
	}
	var st unix.Stat_t
	err = unix.Fstat(int(f.Fd()), &st)
	switch {
	case err != nil:
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		err = fmt.Errorf("%w: not a regular file", ErrDamaged)
	case size >= 0 && st.Size != size:
		err = fmt.Errorf("%w: %d bytes instead of %d", ErrDamaged, st.Size, size)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, unix.TimespecToNsec(st.Ctim), nil
}

// irregular reports whether a path leads to something that is not a regular file.
func irregular(path string) bool {
	fi, err := os.Lstat(path)
	return err == nil && !fi.Mode().IsRegular()
}

// ctime returns when a file was last changed.
func ctime(path string) (int64, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return 0, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return unix.TimespecToNsec(st.Ctim), nil
}

// touch sets a file's mtime.
func touch(path string, t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// unlink removes a file, and nothing that is a directory.
func unlink(path string) error {
	if err := unix.Unlink(path); err != nil {
		return &fs.PathError{Op: "unlink", Path: path, Err: err}
	}
	return nil
}

// isFull reports whether an error says that there is no room on the disk.
func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
