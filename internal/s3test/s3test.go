// Package s3test runs a real S3 server for tests.
package s3test

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go/encoding/httpbinding"

	"github.com/voyo-music/caddy-voyo/internal/tools"
)

// Region is the store's.
const Region = "eu-test-1"

// Store is an S3 server with a bucket "music". It listens on a socket in a
// directory of its own, so that no other process can have its port.
type Store struct {
	Access, Secret string            // of its only user; random
	Transport      http.RoundTripper // reaches the store, whatever the URL's host is
}

// Start starts a server with an empty bucket. It ends with the test.
func Start(t *testing.T) *Store {
	t.Helper()
	dir, err := os.MkdirTemp("", "s3") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "socket")
	for _, name := range []string{"data", "meta"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s := &Store{Access: rand.Text(), Secret: rand.Text()}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, tools.Path(t, "versitygw"), "--port", socket, "--region", Region,
		"posix", "--sidecar", filepath.Join(dir, "meta"), filepath.Join(dir, "data"))
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+s.Access, "ROOT_SECRET_ACCESS_KEY="+s.Secret)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	awaitSocket(t, socket, ended)

	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	s.Transport = transport
	s.Put(t, "", "", "")
	return s
}

// Put stores an object in the bucket "music", or with an empty key makes that.
func (s *Store) Put(t *testing.T, objectKey, contentType, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://store.test/music", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if objectKey != "" {
		r.URL.Path, r.URL.RawPath = "/music/"+objectKey, "/music/"+httpbinding.EscapePath(objectKey, false)
	}
	const unsigned = "UNSIGNED-PAYLOAD"
	r.Header.Set("X-Amz-Content-Sha256", unsigned)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	credentials := aws.Credentials{AccessKeyID: s.Access, SecretAccessKey: s.Secret}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err := signer.SignHTTP(t.Context(), credentials, r, unsigned, "s3", Region, time.Now()); err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: s.Transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		message, _ := io.ReadAll(resp.Body)
		t.Fatalf("putting %q: %s: %s", objectKey, resp.Status, message)
	}
}

// awaitSocket returns once something listens on the socket.
func awaitSocket(t *testing.T, socket string, ended <-chan struct{}) {
	t.Helper()
	deadline := time.After(time.Minute)
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-retry.C:
		case <-ended:
			t.Fatal("versitygw ended before it listened")
		case <-deadline:
			t.Fatal("versitygw did not start within a minute")
		}
	}
}
