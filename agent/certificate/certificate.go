// Package certificate keeps the appliance's certificate for HTTPS and SIP over TLS
// on the LAN: the operator's own, or one that it makes and renews.
package certificate

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
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
	// certificateTime is how long a certificate of ours is good: nobody renews it by hand.
	certificateTime = 10 * 365 * 24 * time.Hour
	// renewBefore is how long before its end a new one is made.
	renewBefore = 90 * 24 * time.Hour
	keyBits     = 2048 // RSA, which the oldest phones know
)

// Store is the folder of cert.pem and key.pem. Its methods may be called from any
// goroutine.
type Store struct {
	Dir string
	// For returns the address and the names that a certificate of ours must have.
	For func() (addr netip.Addr, names []string)

	mu sync.Mutex // held while the files are read or made: they are a pair
}

// Get returns the certificate. Where there is none, or ours lacks the address or a
// name of this machine, or ends soon, it makes a self-signed one; a certificate of
// the operator's stays.
func (s *Store) Get() (tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.get()
}

func (s *Store) get() (tls.Certificate, error) {
	addr, names := s.For()
	certFile, keyFile := s.files()
	c, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil && (!ours(c.Leaf) || serves(c.Leaf, addr, names, time.Now())) {
		return c, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("certificate: %s: %w: mend it, or remove both files to have a new one made", certFile, err)
	}
	// With the same key, who trusts the old one trusts the new one, too.
	key, _ := c.PrivateKey.(*rsa.PrivateKey)
	certPEM, keyPEM, err := selfSigned(addr, names, key, time.Now())
	if err == nil {
		err = os.MkdirAll(s.Dir, 0o700)
	}
	if err == nil { // the key last: without it there is no pair, and both are made again
		err = errors.Join(durable.WriteFile(certFile, certPEM, 0o644), durable.WriteFile(keyFile, keyPEM, 0o600))
	}
	if err != nil {
		return c, fmt.Errorf("certificate: make one: %w", err)
	}
	return tls.X509KeyPair(certPEM, keyPEM)
}

// PEM is Get, as the two files have it.
func (s *Store) PEM() (cert, key string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.get(); err != nil {
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

// ours reports whether we have made a certificate.
func ours(c *x509.Certificate) bool {
	return len(c.Subject.Organization) > 0 && c.Subject.Organization[0] == "sae-agent"
}

// serves reports whether a certificate names all that it should, for some time to come.
func serves(c *x509.Certificate, addr netip.Addr, names []string, now time.Time) bool {
	for _, n := range append([]string{addr.String()}, names...) {
		if c.VerifyHostname(n) != nil {
			return false
		}
	}
	return now.Add(renewBefore).Before(c.NotAfter)
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

// selfSigned makes a certificate for an address of the LAN and further names, with
// a new key if key is nil.
func selfSigned(addr netip.Addr, names []string, key *rsa.PrivateKey, now time.Time) (certPEM, keyPEM []byte, err error) {
	if key == nil {
		if key, err = rsa.GenerateKey(rand.Reader, keyBits); err != nil {
			return nil, nil, err
		}
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: addr.String(), Organization: []string{"sae-agent"}},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(certificateTime), // a phone's clock may be behind at boot
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{addr.AsSlice()}, DNSNames: names,
		BasicConstraintsValid: true, IsCA: true, // so that it can be given to phones as the CA to trust
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}
