package voyo

import (
	"encoding/base64"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const testLinkKey = "a key of 16 bytes or more"

// The form of what is signed is one that others sign in, too: it can't be changed. The
// signatures were made by openssl dgst -sha256 -hmac.
func TestLinkSignature(t *testing.T) {
	for _, c := range []struct {
		link
		key, want string
	}{
		{link{"/cdn/stream/" + testVOYO, 1900000000, ""}, testLinkKey, "HVEgyXi8enFTy5mdrTXyocQJFYqyawNHXoTKhwD5oq8"},
		{link{"/proxy?v=" + testID, 1900000000, "192.0.2.0/24"}, testLinkKey, "7qVLYgM28i6Ad3hNJZ_VWOmC2JZJhmB9aux9S2iXDkc"},
		{link{"/proxy?v=" + testID, 1900000000, "192.0.2.0/24"}, strings.Repeat("k", 100), "xam5R18KGr6IzHFdPUlOFtti70lNzVAuigye6jM-Ms0"},
	} {
		if got := c.link.signature([]byte(c.key)); got != c.want {
			t.Errorf("%+v: got %s, want %s", c.link, got, c.want)
		}
	}
}

// A link that any of the keys has signed is good, and no other one is.
func TestLinkKeys(t *testing.T) {
	keys := linkKeys{[]byte("the first key of all"), []byte("the second key of all"), []byte("the third key of all")}
	l := link{target: "/cdn/stream/" + testVOYO, expires: 1900000000, client: "192.0.2.1"}
	for i, key := range keys {
		if !keys.verify(l, l.signature(key)) {
			t.Errorf("key %d is not looked at", i)
		}
		if rest := slices.Delete(slices.Clone(keys), i, i+1); rest.verify(l, l.signature(key)) {
			t.Errorf("key %d is good without being there", i)
		}
	}
	if query := keys.query(l); !strings.HasSuffix(query, "&signature="+l.signature(keys[0])) {
		t.Errorf("not signed with the first key: %s", query)
	}
	if (linkKeys{}).verify(l, "") || keys.verify(l, "") {
		t.Error("nothing is a signature")
	}
}

// What two links have in common is cut at another place in each: their texts differ.
func TestLinkTextsDiffer(t *testing.T) {
	seen := make(map[string]link)
	for _, l := range []link{
		{"/audio/" + testID, 1900000000, ""},
		{"/audio/" + testID + "1", 900000000, ""},
		{"/audio/" + testID, 190000000, "0"},
		{"/audio/" + testID, 1900000000, "0"},
		{"/audio/" + testID + "?", 1900000000, ""},
		{"/stream?v=" + testID, 1900000000, ""},
		{"/stream?id=" + testID, 1900000000, ""},
	} {
		s := l.signature([]byte(testLinkKey))
		if other, ok := seen[s]; ok {
			t.Errorf("%+v and %+v have one signature", l, other)
		}
		seen[s] = l
	}
}

func TestLinkOver(t *testing.T) {
	for at, over := range map[time.Time]bool{
		time.Unix(99, 999_999_999): false, time.Unix(100, 0): true, time.Unix(101, 0): true, time.Unix(0, 0): false,
	} {
		if got := (link{expires: 100}).over(at); got != over {
			t.Errorf("%s: over: %t", at, got)
		}
	}
}

func TestParseExpiry(t *testing.T) {
	for s, want := range map[string]int64{
		"1": 1, "1900000000": 1900000000, "253402300799": lastExpiry,
		"": 0, "0": 0, "-1": 0, "+1": 0, "01": 0, "1 ": 0, " 1": 0, "1\n": 0, "1e9": 0, "0x1": 0, "1_0": 0, "1.0": 0, "١": 0,
		"253402300800": 0, "9223372036854775807": 0, "9223372036854775808": 0, "99999999999999999999": 0,
	} {
		if got, err := parseExpiry(s); got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: got %d, %v", s, got, err)
		}
	}
}

func TestLinkClients(t *testing.T) {
	for _, c := range []struct {
		scope, client string
		allowed       bool
	}{
		{"", "192.0.2.1", true},
		{"", "", true},
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"::ffff:192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "2001:db8::1", false},
		{"192.0.2.1", "", false},
		{"192.0.2.0/24", "192.0.2.255", true},
		{"192.0.2.7/24", "192.0.2.255", true},
		{"192.0.2.0/24", "192.0.3.0", false},
		{"0.0.0.0/0", "192.0.2.1", true},
		{"0.0.0.0/0", "2001:db8::1", false},
		{"::/0", "2001:db8::1", true},
		{"::/0", "192.0.2.1", false},
		{"::/0", "", false},
		{"::ffff:192.0.2.0/120", "192.0.2.9", true},
		{"::ffff:192.0.2.0/120", "192.0.3.9", false},
		{"2001:db8::1", "2001:db8::1", true},
		{"2001:db8::1", "2001:DB8:0::1", true},
		{"2001:db8::1", "2001:db8::1%eth0", true},
		{"2001:db8::1", "2001:db8::2", false},
		{"2001:db8::/64", "2001:db8::ffff:1", true},
		{"2001:db8::/64", "2001:db8:0:1::1", false},
	} {
		if got := (link{client: c.scope}).allows(addressOf(requestFrom(t, c.client))); got != c.allowed {
			t.Errorf("%q, %q: %t", c.scope, c.client, got)
		}
	}
}

func TestScopesOfNobody(t *testing.T) {
	for _, s := range []string{
		"x", "192.0.2", "192.0.2.1/", "192.0.2.1/33", "192.0.2.1/-1", "192.0.2.1/08", "192.0.2.1/24/24", "/24", "192.0.2.01",
		"192.0.2.1 ", "192.0.2.1\n", "192.0.2.1,192.0.2.2", "fe80::1%eth0", "fe80::1%\n", "fe80::%eth0/64", "[::1]", "192.0.2.1:80",
		"::ffff:192.0.2.1/95", "localhost",
	} {
		if p, err := parseScope(s); err == nil {
			t.Errorf("%q is %s", s, p)
		}
	}
}

// checkedLink returns what a URL is signed for; nil if it is not signed, or not rightly.
func checkedLink(target string, keys linkKeys) *link {
	u, err := url.Parse(target)
	if err != nil {
		return nil
	}
	at, ours := locate(u)
	if !ours || at.endpoint == endpointHealth {
		return nil
	}
	req, err := at.parse(u, true)
	if err != nil {
		return nil
	}
	l, signature, err := parseLink(at, u, req.asked)
	if err != nil || !keys.verify(l, signature) {
		return nil
	}
	return &l
}

// signedTargets are one of each shape, without a signature.
var signedTargets = []string{
	"/cdn/stream/" + testVOYO, "/cdn/art/" + testVOYO, "/proxy?v=" + testVOYO, "/thumbnail?id=" + testVOYO, "/audio/" + testID,
	"/thumb/" + testID, "/exists/" + testID, "/stream?v=" + testID, "/prefetch?v=" + testID,
}

func mustSign(t interface{ Fatal(...any) }, key, target string, l link) string {
	signed, err := signURL(linkKeys{[]byte(key)}, l, target)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// A signature is good for one shape, ID and form of it, however the rest of the query is.
func TestLinkIsForOneURL(t *testing.T) {
	keys := linkKeys{[]byte(testLinkKey)}
	if len(signedTargets) != len(shapes)-1 {
		t.Errorf("%d shapes of %d", len(signedTargets), len(shapes)-1)
	}
	for _, target := range signedTargets {
		signed := mustSign(t, testLinkKey, target, link{expires: 1900000000, client: "192.0.2.0/24"})
		if checkedLink(signed, keys) == nil {
			t.Errorf("%s: not good", signed)
		}
		for _, more := range []string{"&quality=low", "&type=video&q=low", "&x=y&x=z"} {
			if checkedLink(signed+more, keys) == nil {
				t.Errorf("%s%s: not good", signed, more)
			}
		}
		_, params, _ := strings.Cut(signed, "expires=")
		others := append(slices.Clone(signedTargets), "/cdn/stream/"+testID, "/cdn/art/"+testID, "/audio/"+testVOYO,
			"/cdn/stream/dQw4w9WgXcQ", "/proxy?v="+testID, "/proxy?v=dQw4w9WgXcQ", "/stream?v=dQw4w9WgXcQ")
		for _, other := range others {
			separator := "?"
			if strings.Contains(other, "?") {
				separator = "&"
			}
			if got := checkedLink(other+separator+"expires="+params, keys) != nil; got != (other == target) {
				t.Errorf("%s with the signature of %s: good: %t", other, target, got)
			}
		}
	}
}

// What is malformed, or there twice, is no signature.
func TestMalformedLinks(t *testing.T) {
	keys := linkKeys{[]byte(testLinkKey)}
	l := link{target: "/proxy?v=" + testID, expires: 1900000000}
	signature := l.signature(keys[0])
	good := "/proxy?v=" + testID + "&expires=1900000000&signature=" + signature
	if checkedLink(good, keys) == nil {
		t.Fatal("not good: ", good)
	}
	raw, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"/proxy?v=" + testID,
		"/proxy?v=" + testID + "&expires=1900000000",
		"/proxy?v=" + testID + "&expires=1900000000&signature=",
		"/proxy?v=" + testID + "&signature=" + signature,
		"/proxy?v=" + testID + "&expires=&signature=" + signature,
		"/proxy?v=" + testID + "&expires=01900000000&signature=" + signature,
		"/proxy?v=" + testID + "&expires=%2B1900000000&signature=" + signature,
		"/proxy?v=" + testID + "&expires=1900000000%0A&signature=" + signature,
		"/proxy?v=" + testID + "&Expires=1900000000&signature=" + signature,
		"/proxy?v=" + testID + "&expires=1900000000&signature=" + base64.URLEncoding.EncodeToString(raw),
		"/proxy?v=" + testID + "&expires=1900000000&signature=" + strings.ToUpper(signature),
		"/proxy?v=" + testID + "&expires=1900000000&signature=%0A" + signature,
		"/proxy?v=" + testID + "&expires=1900000000&signature=" + signature[:20] + "%0D%0A" + signature[20:],
		"/proxy?v=" + testID + "&expires=1900000000&signature=" + signature[:42],
		"/proxy?v=" + testID + "&expires=1900000000&signature=" + signature + "A",
		good + "&signature=" + signature,
		good + "&expires=1900000000",
		good + "&v=" + testID,
		good + "&client=",
		good + "&client=192.0.2.1",
		good + "&client=nobody",
		good + "&x=%zz",
		good + ";x=y",
		good + "&signature",
	} {
		if checkedLink(bad, keys) != nil {
			t.Errorf("good: %s", bad)
		}
	}
}

// Whatever bit of a link is another one, it is not good.
func TestLinkBits(t *testing.T) {
	keys := linkKeys{[]byte(testLinkKey)}
	rapid.Check(t, func(t *rapid.T) {
		target := rapid.SampledFrom(signedTargets).Draw(t, "target")
		l := link{
			expires: rapid.Int64Range(1, lastExpiry).Draw(t, "expires"),
			client:  rapid.SampledFrom([]string{"", "192.0.2.1", "192.0.2.0/24", "2001:db8::/32"}).Draw(t, "client"),
		}
		// without escapes, of which some differ and mean the same
		signed := strings.NewReplacer("%2F", "/", "%3A", ":").Replace(mustSign(t, testLinkKey, target, l))
		if got := checkedLink(signed, keys); got == nil || got.expires != l.expires || got.client != l.client {
			t.Fatalf("%s: got %+v", signed, got)
		}
		changed := []byte(signed)
		at := rapid.IntRange(0, len(changed)-1).Draw(t, "at")
		changed[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if got := checkedLink(string(changed), keys); got != nil {
			t.Fatalf("%q is good, as %q was: %+v", changed, signed, got)
		}
	})
}

// FuzzSignature looks for a query that is good and is not what was signed.
func FuzzSignature(f *testing.F) {
	keys := linkKeys{[]byte(testLinkKey), []byte("another key of 16 bytes or more")}
	links := make(map[link]string)
	for i, target := range signedTargets {
		l := link{expires: 1900000000 + int64(i)}
		if i%2 == 1 {
			l.client = "2001:db8::/32"
		}
		signed := mustSign(f, string(keys[i%2]), target, l)
		l.target = target
		links[l] = l.signature(keys[i%2])
		f.Add(signed)
		f.Add(signed + "&quality=low")
	}
	for _, s := range []string{"/stream", "/proxy?v=" + testID + "&expires=1&signature=&signature", "/cdn/art/" + testID + "?%", "?;&=", "//"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		got := checkedLink(target, keys)
		if got == nil {
			return
		}
		signature, ok := links[*got]
		if !ok {
			t.Fatalf("%q is good for %+v, which nobody has signed", target, *got)
		}
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		want := url.Values{paramExpires: {strconv.FormatInt(got.expires, 10)}, paramSignature: {signature}}
		if got.client != "" {
			want[paramClient] = []string{got.client}
		}
		for _, name := range []string{paramExpires, paramClient, paramSignature} {
			if values := u.Query()[name]; !slices.Equal(values, want[name]) {
				t.Errorf("%q is good with %q as %s", target, values, name)
			}
		}
	})
}

// The path that is signed is the one that is sent.
func TestLinkTarget(t *testing.T) {
	for _, target := range signedTargets {
		u := httptest.NewRequest("GET", target, nil).URL
		at, _ := locate(u)
		req, err := at.parse(u, true)
		if err != nil || at.target(req.asked) != target {
			t.Errorf("%s: %s, %v", target, at.target(req.asked), err)
		}
	}
}

// A client's address is compared as a whole, not by its network as for rate limits.
func TestAddressOf(t *testing.T) {
	for ip, want := range map[string]netip.Addr{
		"2001:db8::1%eth0": netip.MustParseAddr("2001:db8::1"), "::ffff:192.0.2.1": netip.MustParseAddr("192.0.2.1"), "": {}, "@": {},
	} {
		if got := addressOf(requestFrom(t, ip)); got != want {
			t.Errorf("%q: %s", ip, got)
		}
	}
}
