// Package certificate keeps the appliance's certificate for HTTPS and SIP over TLS
// on the LAN: the operator's own, or one that it makes and renews.
package certificate

import (
	"bytes"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/durable"
)

const (
	// authorityTime is how long an authority is good: nobody has computers trust another one every other year.
	authorityTime = 10 * 365 * 24 * time.Hour
	// certificateTime is how long a certificate is good. Apple's systems take none for more than 825 days.
	certificateTime = 800 * 24 * time.Hour
	// renewBefore is how long before the end of either a new certificate is made.
	renewBefore = 90 * 24 * time.Hour
	keyBits     = 2048 // RSA, which the oldest phones know
	// cacheTime is how long the files are believed to be as they were.
	cacheTime = time.Minute
)

// Store is the folder of cert.pem and key.pem, and of ca.pem and ca-key.pem, with which the former are made unless they are
// the operator's own. Its methods may be called from any goroutine.
type Store struct {
	Dir string
	// For returns the address and the names that a certificate of ours must have.
	For func() (addr netip.Addr, names []string)

	mu     sync.Mutex // held while the files are read or made: they are pairs
	cached tls.Certificate
	as     string    // for whom it was read
	until  time.Time // when it is read again
}

// Get returns the certificate, with the authority's after it. Where there is none, or ours lacks the address or a
// name of this machine, or ends soon, it makes one; a certificate of the operator's stays. Another one in the files is
// noticed within a minute.
func (s *Store) Get() (tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	addr, names := s.For()
	if s.as == fmt.Sprint(addr, names) && time.Now().Before(s.until) {
		return s.cached, nil
	}
	return s.read(addr, names)
}

func (s *Store) read(addr netip.Addr, names []string) (tls.Certificate, error) {
	c, err := load(s.files())
	if err != nil {
		return c, err
	}
	now := time.Now()
	if c.Leaf == nil || ours(c.Leaf) && !good(c.Leaf, authorityOf(c), addr, names, now) {
		if c, err = s.renew(c, addr, names, now); err != nil {
			return c, fmt.Errorf("certificate: make one: %w", err)
		}
	}
	s.cached, s.as, s.until = c, fmt.Sprint(addr, names), now.Add(cacheTime)
	return c, nil
}

// load reads a pair; what is not there is the zero one.
func load(certFile, keyFile string) (tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(certFile, keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return tls.Certificate{}, nil
	}
	if err != nil {
		return c, fmt.Errorf("certificate: %s: %w: mend it, or remove it and %s to have a new one made", certFile, err, keyFile)
	}
	return c, nil
}

// renew makes a certificate, and an authority where there is none that is good for it.
func (s *Store) renew(old tls.Certificate, addr netip.Addr, names []string, now time.Time) (c tls.Certificate, err error) {
	ca, err := s.authority(old)
	if err != nil {
		return c, err
	}
	if ca.cert != nil && now.Before(ca.cert.NotBefore) {
		now = ca.cert.NotBefore // the clock is not right yet
	}
	var key *rsa.PrivateKey
	if old.Leaf != nil && !old.Leaf.IsCA {
		key, _ = old.PrivateKey.(*rsa.PrivateKey) // who trusts the key goes on trusting it
	}
	var next pair
	if ca.cert != nil {
		next, err = newCertificate(addr, names, ca, key, now)
	}
	if err == nil && (next.cert == nil || !good(next.cert, ca.cert, addr, names, now)) {
		if ca, err = newAuthority(addr, names, now); err == nil {
			next, err = newCertificate(addr, names, ca, key, now)
		}
	}
	if err == nil {
		err = os.MkdirAll(s.Dir, 0o700)
	}
	if err == nil {
		err = s.write(ca, next)
	}
	if err != nil {
		return c, err
	}
	return load(s.files())
}

// authority returns what signs certificates of ours; the zero pair where there is none yet. Earlier versions made a
// certificate that was its own authority: who trusts that shall trust the next ones.
func (s *Store) authority(old tls.Certificate) (pair, error) {
	ca, err := load(s.authorityFiles())
	if err != nil {
		return pair{}, err
	}
	if ca.Leaf == nil && old.Leaf != nil && old.Leaf.IsCA {
		ca = old
	}
	key, ok := ca.PrivateKey.(*rsa.PrivateKey)
	if !ok {
		return pair{}, nil
	}
	return pair{ca.Leaf, key}, nil
}

// write writes both pairs, the authority first: what it signs can be made again.
func (s *Store) write(ca, next pair) error {
	caFile, caKeyFile := s.authorityFiles()
	if err := writePair(ca, caFile, caKeyFile); err != nil {
		return err
	}
	certFile, keyFile := s.files()
	return writePair(next, certFile, keyFile, ca.cert)
}

// writePair has no other key beside a certificate at any moment, if the power goes: without one there is no pair.
func writePair(p pair, certFile, keyFile string, chain ...*x509.Certificate) error {
	certPEM, keyPEM, err := p.encode(chain...)
	if err != nil {
		return err
	}
	if before, err := os.ReadFile(keyFile); err == nil && !bytes.Equal(before, keyPEM) {
		if err := errors.Join(os.Remove(keyFile), durable.SyncDir(filepath.Dir(keyFile))); err != nil {
			return err
		}
	}
	if err := durable.WriteFile(certFile, certPEM, 0o644); err != nil {
		return err
	}
	return durable.WriteFile(keyFile, keyPEM, 0o600)
}

// Authority returns what has signed the certificate, as ca.pem has it; empty where the certificate is the operator's own.
func (s *Store) Authority() (string, error) {
	c, err := s.Get()
	if err != nil {
		return "", err
	}
	if ca := authorityOf(c); ours(c.Leaf) && ca != nil {
		return string(encodeCertificate(ca)), nil
	}
	return "", nil
}

// PEM is Get, as the two files have it.
func (s *Store) PEM() (cert, key string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	addr, names := s.For()
	if _, err := s.read(addr, names); err != nil {
		return "", "", err
	}
	certFile, keyFile := s.files()
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return "", "", fmt.Errorf("certificate: %w", err)
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return "", "", fmt.Errorf("certificate: %w", err)
	}
	return string(certPEM), string(keyPEM), nil
}

func (s *Store) files() (cert, key string) {
	return filepath.Join(s.Dir, "cert.pem"), filepath.Join(s.Dir, "key.pem")
}

func (s *Store) authorityFiles() (cert, key string) {
	return filepath.Join(s.Dir, "ca.pem"), filepath.Join(s.Dir, "ca-key.pem")
}

// Names are the names by which people may ask for this machine, in a domain or none.
func Names(domain string) []string {
	host, err := os.Hostname()
	if err != nil || len(host) > 253 || !hostShape.MatchString(host) || host == "localhost" {
		return nil
	}
	names := []string{host}
	if domain != "" && !strings.Contains(host, ".") {
		names = append(names, host+"."+domain)
	}
	return names
}

// hostShape is what a certificate takes as a name (RFC 1123 section 2.1). A count in it would take every start milliseconds.
var hostShape = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)
