// Command healthcheck asks an edge on this machine how it is, and fails unless it
// is healthy. It is for images that have neither a shell nor curl.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// timeout bounds the whole of it; Docker's own, in the Dockerfile, is longer.
const timeout = 4 * time.Second

func main() {
	if err := check("http://127.0.0.1:" + cmp.Or(os.Getenv("HEALTH_PORT"), "9181") + "/health"); err != nil {
		fmt.Fprintln(os.Stderr, "healthcheck:", err)
		os.Exit(1)
	}
}

// check reports what is wrong with the edge that answers at the URL.
func check(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	report, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // Docker shows it: it has the reasons
	return fmt.Errorf("status %d: %s", resp.StatusCode, report)
}
