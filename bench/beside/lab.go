package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/peer"
)

// lab is what all turns share.
type lab struct {
	dir         string
	caddy, bare string // programs
	files       string // what caddy-file serves
	cert, key   []byte // of 127.0.0.1, in PEM
	roots       *x509.CertPool
	origin      upstream
}

// newLab builds the programs, and starts the origin.
func newLab(ctx context.Context, dir string) (l *lab, stop func(), err error) {
	l = &lab{
		dir: dir, caddy: filepath.Join(dir, "caddy"), bare: filepath.Join(dir, "bare"), files: filepath.Join(dir, "files"),
	}
	for program, source := range map[string]string{l.caddy: "./cmd/caddy", l.bare: "./bench/bare"} {
		build := exec.CommandContext(ctx, "go", "build", "-o", program, source) // #nosec G204 -- a file of its own
		if out, err := build.CombinedOutput(); err != nil {
			return nil, nil, fmt.Errorf("building %s, which is in the root of the checkout: %w\n%s", source, err, out)
		}
	}
	if err := l.certify(); err != nil {
		return nil, nil, err
	}
	for _, o := range append(cover.objects(warmFamily, warmCovers), track.objects(warmFamily, 1)...) {
		if err := save(filepath.Join(l.files, o.pathAtOrigin()), o); err != nil {
			return nil, nil, err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	p, err := peer.Start(exec.CommandContext(ctx, self, originArg), regexp.MustCompile(`(?m)^listening on (\S+)$`)) // #nosec G204 -- itself
	if err != nil {
		return nil, nil, err
	}
	l.origin = upstream(p.Ready)
	return l, p.Stop, nil
}

// save writes an object as a file.
func save(path string, o object) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	b, err := io.ReadAll(io.NewSectionReader(o, 0, o.size))
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// certify makes a certificate for the servers that have TLS.
func (l *lab) certify() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	l.cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	l.key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	l.roots = x509.NewCertPool()
	l.roots.AppendCertsFromPEM(l.cert)
	return nil
}
