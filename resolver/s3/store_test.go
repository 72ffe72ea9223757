package s3

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/s3test"
	"github.com/voyo-music/caddy-voyo/resolver"
	"github.com/voyo-music/caddy-voyo/resolver/internal/guest/guesttest"
)

// store is an S3 server, and how the tests of this package talk to it.
type store struct {
	*s3test.Store
	client *http.Client
}

func startStore(t *testing.T) *store {
	t.Helper()
	s := s3test.Start(t)
	return &store{s, &http.Client{Transport: s.Transport}}
}

// load loads a resolver for the store.
func (s *store) load(t *testing.T, secret string, lines ...string) *S3 {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("VOYO_TEST_ACCESS", s.Access)
	lines = append(lines, "endpoint http://store.test", "region "+s3test.Region, "secret_key {file."+path+"}")
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
	s.Put(t, "128/OSBan_sH_b8.opus", "audio/ogg", opus)
	s.Put(t, odd+"OSBan_sH_b8.jpg", "image/jpeg", "cover")
	r := s.load(t, s.Secret,
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
