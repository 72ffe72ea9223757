package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/smithy-go/encoding/httpbinding"

	"github.com/voyo-music/caddy-voyo/resolver"
	"github.com/voyo-music/caddy-voyo/resolver/internal/guest/guesttest"
)

const storeRegion = "eu-test-1"

// store is an S3 server. It listens on a socket in a directory of its own, so
// that no other process can have its port.
type store struct {
	endpoint, access, secret string
	client                   *http.Client
}

// versitygw returns the path of the S3 server.
func versitygw(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("versitygw"); err == nil {
		return path
	}
	dir := os.Getenv("VOYO_TOOLS")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(home, ".cache", "caddy-voyo", "tools")
	}
	path := filepath.Join(dir, "versitygw")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("versitygw is neither in PATH nor in %s: run .ci/tools to install it", dir)
	}
	return path
}

// startStore starts a server with an empty bucket "music".
func startStore(t *testing.T) *store {
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

	s := &store{endpoint: "http://store.test", access: rand.Text(), secret: rand.Text()}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, versitygw(t), "--port", socket, "--region", storeRegion,
		"posix", "--sidecar", filepath.Join(dir, "meta"), filepath.Join(dir, "data"))
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+s.access, "ROOT_SECRET_ACCESS_KEY="+s.secret)
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
	s.client = &http.Client{Transport: transport}
	s.put(t, "", nil)
	return s
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

// put stores an object in the bucket "music", or with an empty key makes it.
func (s *store) put(t *testing.T, objectKey string, body []byte) {
	t.Helper()
	plain, escaped := "/music", "/music"
	if objectKey != "" {
		plain, escaped = plain+"/"+objectKey, escaped+"/"+httpbinding.EscapePath(objectKey, false)
	}
	r, err := http.NewRequest(http.MethodPut, s.endpoint, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Path, r.URL.RawPath = plain, escaped
	r.Header.Set("X-Amz-Content-Sha256", unsignedPayload)
	signer := s.load(t, s.secret)
	err = signer.signer.SignHTTP(t.Context(), signer.credentials, r, unsignedPayload, "s3", storeRegion, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		message, _ := io.ReadAll(resp.Body)
		t.Fatalf("putting %q: %s: %s", objectKey, resp.Status, message)
	}
}

// load loads a resolver for the store.
func (s *store) load(t *testing.T, secret string, lines ...string) *S3 {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("VOYO_TEST_ACCESS", s.access)
	lines = append(lines, "endpoint "+s.endpoint, "region "+storeRegion, "secret_key {file."+path+"}")
	return guesttest.MustLoad(t, segment(lines...)).(*S3)
}

// get fetches an object, whole or a range of it.
func (s *store) get(t *testing.T, u *url.URL, byteRange string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if byteRange != "" {
		r.Header.Set("Range", byteRange)
	}
	resp, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(content)
}

func resolve(t *testing.T, r *S3, a resolver.Asset) []*url.URL {
	t.Helper()
	answer, err := r.Resolve(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	var urls []*url.URL
	for _, target := range answer.Targets {
		urls = append(urls, target.URL)
	}
	return urls
}

// TestStore reads what a real S3 server makes of signed URLs.
func TestStore(t *testing.T) {
	s := startStore(t)
	const opus = "the song's bytes"
	const odd = "a b/ü+&=@:,;$!*'()~%41#?/"
	s.put(t, "128/OSBan_sH_b8.opus", []byte(opus))
	s.put(t, odd+"OSBan_sH_b8.jpg", []byte("cover"))
	r := s.load(t, s.secret,
		"audio {http.voyo.bitrate}/{http.voyo.id}.opus 128/{http.voyo.id}.opus",
		fmt.Sprintf("art `%s{http.voyo.id}.jpg`", odd))

	t.Run("whole", func(t *testing.T) {
		status, body := s.get(t, resolve(t, r, guesttest.Audio)[0], "")
		if status != http.StatusOK || body != opus {
			t.Errorf("got %d: %s", status, body)
		}
	})
	t.Run("ranges with one URL", func(t *testing.T) {
		u := resolve(t, r, guesttest.Audio)[0]
		for byteRange, want := range map[string]string{
			"bytes=0-2": opus[:3],
			"bytes=4-":  opus[4:],
			"bytes=-5":  opus[len(opus)-5:],
		} {
			status, body := s.get(t, u, byteRange)
			if status != http.StatusPartialContent || body != want {
				t.Errorf("%s: got %d: %s", byteRange, status, body)
			}
		}
	})
	t.Run("second candidate", func(t *testing.T) {
		urls := resolve(t, r, guesttest.LowAudio)
		if status, body := s.get(t, urls[0], ""); status != http.StatusNotFound {
			t.Errorf("missing key: got %d: %s", status, body)
		}
		if status, body := s.get(t, urls[1], ""); status != http.StatusOK || body != opus {
			t.Errorf("got %d: %s", status, body)
		}
	})
	t.Run("key that needs escaping", func(t *testing.T) {
		status, body := s.get(t, resolve(t, r, guesttest.Art)[0], "")
		if status != http.StatusOK || body != "cover" {
			t.Errorf("got %d: %s", status, body)
		}
	})
	t.Run("wrong secret", func(t *testing.T) {
		wrong := s.load(t, rand.Text())
		if status, body := s.get(t, resolve(t, wrong, guesttest.Audio)[0], ""); status != http.StatusForbidden {
			t.Errorf("got %d: %s", status, body)
		}
	})
	t.Run("lifetime", func(t *testing.T) {
		for age, want := range map[time.Duration]int{
			lifetime - time.Minute: http.StatusOK,
			lifetime + time.Minute: http.StatusForbidden,
		} {
			r.now = func() time.Time { return time.Now().Add(-age) }
			if status, body := s.get(t, resolve(t, r, guesttest.Audio)[0], ""); status != want {
				t.Errorf("after %s: got %d: %s", age, status, body)
			}
		}
	})
}
