// Command ports prints TCP ports of the loopback interface that are free, as many
// as its argument says. They are the system's choice and differ from each other.
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
)

func main() {
	n, err := strconv.Atoi(os.Args[1])
	for ; err == nil && n > 0; n-- {
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
			defer l.Close() // after all have been chosen
			fmt.Println(l.Addr().(*net.TCPAddr).Port)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ports:", err)
		os.Exit(1)
	}
}
