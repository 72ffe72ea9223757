package fleet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/voyo-music/caddy-voyo/internal/natstest"
)

// certificate writes a certificate for 127.0.0.1 and its key into a directory.
func certificate(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "nats"},
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// tlsURL tells the test's child process what to connect to.
const tlsURL = "VOYO_TEST_TLS_URL"

// TLS is that of NATS' scheme tls, and of servers that ask for it; the certificate must
// be one that the system trusts.
func TestTLS(t *testing.T) {
	if u := os.Getenv(tlsURL); u != "" {
		n := join(t, Config{URLs: []string{u}, Node: "n"})
		n.follow(t, Position{}, nil)
		n.awaitCurrent(t)
		n.append(t, purge("one"))
		return
	}
	cert, key := certificate(t, t.TempDir())
	c := natstest.Start(t, 1, natstest.With(fmt.Sprintf("tls { cert_file: %q, key_file: %q }", cert, key)))
	for _, u := range []string{"tls://" + c.Address(0), c.Address(0)} {
		n := join(t, Config{URLs: []string{u}, Node: "n"})
		n.awaitStatus(t, "to refuse the certificate", func(s Status) bool { return s.Reason == "the certificate of NATS is not accepted" })
		n.Close()

		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTLS$", "-test.v")
		child.Env = append(os.Environ(), tlsURL+"="+u, "SSL_CERT_FILE="+cert)
		if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestTLS") {
			t.Errorf("%s: %v\n%s", u, err, out)
		}
	}
	plain := natstest.Start(t, 1)
	n := join(t, Config{URLs: []string{"tls://" + plain.Address(0)}, Node: "n"})
	n.awaitStatus(t, "to ask for TLS", func(s Status) bool { return s.Reason == "NATS does not offer TLS" })
}

// operator is one of NATS with an account, as nsc makes them.
type operator struct {
	account nkeys.KeyPair
	config  string // of the servers
}

func keys(t *testing.T, pair nkeys.KeyPair, err error) (nkeys.KeyPair, string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return pair, public
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	pair, err := nkeys.CreateOperator()
	signer, name := keys(t, pair, err)
	self, err := jwt.NewOperatorClaims(name).Encode(signer)
	if err != nil {
		t.Fatal(err)
	}
	pair, err = nkeys.CreateAccount()
	account, name := keys(t, pair, err)
	claims := jwt.NewAccountClaims(name)
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	encoded, err := claims.Encode(signer)
	if err != nil {
		t.Fatal(err)
	}
	pair, err = nkeys.CreateAccount()
	_, system := keys(t, pair, err)
	encodedSystem, err := jwt.NewAccountClaims(system).Encode(signer)
	if err != nil {
		t.Fatal(err)
	}
	return &operator{account, fmt.Sprintf("operator: %s\nresolver: MEMORY\nsystem_account: %s\nresolver_preload: { %s: %s, %s: %s }",
		self, system, name, encoded, system, encodedSystem)}
}

// user returns the file of credentials of a user.
func (o *operator) user(t *testing.T, publish, subscribe []string) string {
	t.Helper()
	pair, err := nkeys.CreateUser()
	user, name := keys(t, pair, err)
	claims := jwt.NewUserClaims(name)
	claims.Pub.Allow, claims.Sub.Allow = publish, subscribe
	encoded, err := claims.Encode(o.account)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	file, err := jwt.FormatUserConfig(encoded, seed)
	if err != nil {
		t.Fatal(err)
	}
	return string(file)
}

// permissions returns what docs/fleet.md says that a node's user must be allowed.
func permissions(t *testing.T) (publish, subscribe []string) {
	t.Helper()
	doc, err := os.ReadFile("../../docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(doc), "permissions {\n")
	text, _, _ = strings.Cut(text, "\n}\n")
	into := &publish
	for line := range strings.Lines(text) {
		word := strings.Trim(strings.TrimSpace(line), `",`)
		switch {
		case strings.HasPrefix(word, "subscribe"):
			into = &subscribe
		case strings.Contains(line, `"`):
			*into = append(*into, word)
		}
	}
	if len(publish) < 10 || len(subscribe) != 2 {
		t.Fatalf("found %q and %q", publish, subscribe)
	}
	return publish, subscribe
}

// A node needs what the documentation says, and no more. Its credentials are read again
// for each connection.
func TestCredentials(t *testing.T) {
	shorten(t, &renewEvery, 100*time.Millisecond)
	o := newOperator(t)
	c := natstest.Start(t, 3, natstest.With(o.config))
	publish, subscribe := permissions(t)
	file := filepath.Join(t.TempDir(), "node.creds")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(newOperator(t).user(t, nil, nil)) // of another operator
	n := join(t, Config{URLs: c.URLs(), Node: "n", Credentials: file})
	told := n.follow(t, Position{}, nil)
	n.awaitStatus(t, "to be refused", func(s Status) bool { return s.Reason == "NATS refuses the credentials" })
	write(o.user(t, publish, subscribe))
	n.awaitCurrent(t)
	if got := receipt(n.append(t, purge("one"), Draft{Kind: Takedown, ID: "x"})); got != "applied [n], pending [], failed []" {
		t.Errorf("got %s", got)
	}
	told.awaitWords(t, "one +x")
	if nodes, err := n.Nodes(t.Context()); err != nil || len(nodes) != 1 || !nodes[0].Answered {
		t.Errorf("%+v, %v", nodes, err)
	}

	// without one of them something is missing, which is told
	missing := ""
	for i, subject := range publish {
		if strings.Contains(subject, ".API.STREAM.INFO."+streamName) {
			missing, publish = subject, append(publish[:i:i], publish[i+1:]...)
			break
		}
	}
	write(o.user(t, publish, subscribe))
	m := join(t, Config{URLs: c.URLs(), Node: "m", Credentials: file})
	m.awaitStatus(t, "to miss a permission", func(s Status) bool { return s.Detail == missing && !strings.Contains(s.Reason, missing) })
}

// Nothing that is told has a secret in it, or where NATS is.
func TestSecrets(t *testing.T) {
	c := natstest.Start(t, 1, natstest.With(`authorization { user: operator, password: "correct" }`))
	host := c.Address(0)
	file := filepath.Join(t.TempDir(), "secret-name.creds")
	if err := os.WriteFile(file, []byte("secret-content"), 0o600); err != nil {
		t.Fatal(err)
	}
	right := "nats://operator:correct@" + host
	secrets := []string{"operator", "correct", "secret-pass", "secret-content", "secret-user", host, "127.0.0.1", "nats://"}
	check := func(text string) {
		t.Helper()
		for _, s := range secrets {
			if strings.Contains(text, s) {
				t.Errorf("%q is in %q", s, text)
			}
		}
	}
	for _, bad := range []Config{
		{URLs: []string{right, "nats://secret-user:secret-pass@127.0.0.1:port"}, Node: "n"},
		{URLs: []string{right, "http://secret-user:secret-pass@127.0.0.1"}, Node: "n"},
		{URLs: []string{right, "wss://secret-user:secret-pass@127.0.0.1"}, Node: "n"},
		{URLs: []string{right}, Node: "n", Credentials: file},
	} {
		_, err := Open(bad)
		if err == nil {
			t.Fatalf("%+v is taken", bad)
		}
		check(err.Error())
	}

	n := join(t, Config{URLs: []string{"nats://secret-user:secret-pass@" + host}, Node: "n"})
	n.awaitStatus(t, "to be refused", func(s Status) bool { return s.Reason == "NATS refuses the credentials" })
	_, err := n.Append(t.Context(), purge("one"))
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	check(err.Error())
	_, err = n.Nodes(t.Context())
	check(fmt.Sprint(err))

	n = join(t, Config{URLs: []string{right}, Node: "n"})
	n.awaitCurrent(t)
	c.Kill(0)
	n.awaitAway(t)
	_, err = n.Append(t.Context(), purge("one"))
	check(fmt.Sprint(err))
	n.notes.mu.Lock()
	defer n.notes.mu.Unlock()
	for _, s := range n.statuses {
		check(s.Reason + s.Detail)
	}
}
