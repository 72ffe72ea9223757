package voyo_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const storeRegion = "eu-test-1"

// versitygw starts a real S3 server and returns its URL.
func versitygw(t *testing.T, access, secret string) string {
	t.Helper()
	program, err := exec.LookPath("versitygw")
	if err != nil {
		dir := os.Getenv("VOYO_TOOLS")
		if dir == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				t.Fatal(err)
			}
			dir = filepath.Join(home, ".cache", "caddy-voyo", "tools")
		}
		program = filepath.Join(dir, "versitygw")
		if _, err := os.Stat(program); err != nil {
			t.Fatalf("versitygw is neither in PATH nor in %s: run .ci/tools", dir)
		}
	}
	dir, err := os.MkdirTemp("", "s3") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, name := range []string{"data", "meta"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(dir, "socket")
	cmd := exec.Command(program, "--port", socket, "--region", storeRegion,
		"posix", "--sidecar", filepath.Join(dir, "meta"), filepath.Join(dir, "data"))
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+access, "ROOT_SECRET_ACCESS_KEY="+secret)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		<-ended
	})
	eventually(t, "versitygw listens", func() bool {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
	// only a socket in a directory of its own is certain to be free
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	front := newOrigin(t, (&httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", r.In.Host // Host is signed
		},
	}).ServeHTTP)
	return front.URL
}

// put makes a bucket, or puts an object into one.
func put(t *testing.T, url, access, secret, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	const payload = "UNSIGNED-PAYLOAD"
	r.Header.Set("X-Amz-Content-Sha256", payload)
	if body != "" {
		r.Header.Set("Content-Type", "audio/ogg")
	}
	credentials := aws.Credentials{AccessKeyID: access, SecretAccessKey: secret}
	if err := v4.NewSigner().SignHTTP(t.Context(), credentials, r, payload, "s3", storeRegion, time.Now()); err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		message, _ := io.ReadAll(resp.Body)
		t.Fatalf("PUT %s: %s: %s", url, resp.Status, message)
	}
}

// A private bucket of a real store is read with signed URLs, which nobody sees.
func TestPrivateBucket(t *testing.T) {
	access, secret := rand.Text(), rand.Text()
	t.Setenv("VOYO_TEST_ACCESS", access)
	t.Setenv("VOYO_TEST_SECRET", secret)
	store := versitygw(t, access, secret)
	track := readRepository(t, "testdata/demo/64/"+songID+".opus")
	put(t, store+"/music", access, secret, "")
	put(t, store+"/music/64/"+songID+".opus", access, secret, track)
	e := startEdge(t, fmt.Sprintf(`voyo {
		resolver s3 {
			endpoint %s
			bucket music
			region %s
			audio {http.voyo.bitrate}/{http.voyo.id}.opus
			access_key {env.VOYO_TEST_ACCESS}
			secret_key {env.VOYO_TEST_SECRET}
		}
	}`, store, storeRegion))

	resp, err := http.Get(store + "/music/64/" + songID + ".opus")
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusForbidden {
		t.Fatalf("the bucket is not private: %s", resp.Status)
	}
	e.mustGet(t, "/cdn/stream/"+songVOYO+"?quality=low", track)
	e.mustGet(t, "/cdn/stream/"+songVOYO, track) // the other bitrate is not there
	a := e.do(t, http.MethodGet, "/cdn/stream/"+songVOYO+"?quality=low", with("Range", "bytes=-100"))
	if a.status != http.StatusPartialContent || string(a.body) != track[len(track)-100:] {
		t.Errorf("got %d and %d bytes", a.status, len(a.body))
	}
	if a := e.get(t, "/cdn/stream/"+sourceID(1)); a.status != http.StatusNotFound {
		t.Errorf("got %s", a)
	}
	log := e.logged(t)
	for _, hidden := range []string{access, secret, "X-Amz", strings.TrimPrefix(store, "http://")} {
		if strings.Contains(log, hidden) {
			t.Errorf("%s is logged:\n%s", hidden, log)
		}
	}
}
