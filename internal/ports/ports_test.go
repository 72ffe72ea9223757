package ports

import (
	"fmt"
	"net"
	"testing"
)

func TestReserve(t *testing.T) {
	port, release, err := Reserve()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	other, releaseOther, err := Reserve()
	if err != nil {
		t.Fatal(err)
	}
	defer releaseOther()
	if port == other {
		t.Error("a port has been given twice")
	}
	// Go's listeners set SO_REUSEADDR, and so do the servers that this is for
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := net.Listen("tcp", l.Addr().String()); err == nil {
		t.Error("two servers listen on the port")
	}
}
