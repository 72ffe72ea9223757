// Command ports prints TCP ports of the system's choice, as many as its argument
// says. Until its input ends, nobody else is given them.
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/voyo-music/caddy-voyo/internal/ports"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "ports:", err)
		os.Exit(1)
	}
}

func run(count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	for range n {
		port, _, err := ports.Reserve() // for as long as the program runs
		if err != nil {
			return err
		}
		fmt.Println(port)
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
