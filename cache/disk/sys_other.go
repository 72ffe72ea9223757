//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package disk

import (
	"errors"
	"os"
	"time"
)

var errSystem = errors.New("disk caches need a Unix system")

func lock(*os.File) error { return errSystem }

func openRegular(string, int64) (*os.File, int64, error) { return nil, 0, errSystem }

func irregular(string) bool { return false }

func ctime(string) (int64, error) { return 0, errSystem }

func touch(string, time.Time) error { return errSystem }

func unlink(string) error { return errSystem }

func isFull(error) bool { return false }
