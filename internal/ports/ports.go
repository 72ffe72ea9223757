// Package ports has TCP ports for servers that must be told where to listen before they
// run.
package ports

import "golang.org/x/sys/unix"

// Reserve returns a port of the system's choice. Until it is released nobody else is
// given it; those who ask for it by its number and set SO_REUSEADDR or SO_REUSEPORT, as
// servers do, can listen on it.
func Reserve() (port int, release func(), err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	for _, option := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
			return 0, nil, err
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{}); err != nil {
		return 0, nil, err
	}
	address, err := unix.Getsockname(fd)
	if err != nil {
		return 0, nil, err
	}
	return address.(*unix.SockaddrInet4).Port, func() { unix.Close(fd) }, nil
}
