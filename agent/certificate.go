package agent

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
	"time"

	"github.com/sae-agent/sae-agent/agent/durable"
)

const (
	// certificateTime is how long a certificate of ours is good: nobody renews it by hand.
	certificateTime = 10 * 365 * 24 * time.Hour
	keyBits         = 2048 // RSA, which the oldest phones know
)

// certificate returns the certificate for HTTPS on the LAN: tls/cert.pem and
// tls/key.pem in the state folder. Where there is none, or ours does not name the
// address, it makes a self-signed one; a certificate of the operator's stays.
func (a *Agent) certificate(addr netip.Addr) (tls.Certificate, error) {
	dir := a.state("tls")
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	c, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err == nil && (c.Leaf.Subject.Organization == nil || c.Leaf.Subject.Organization[0] != "sae-agent" || c.Leaf.VerifyHostname(addr.String()) == nil) {
		return c, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("agent: %s: %w: mend it, or remove both files to have a new one made", certFile, err)
	}
	certPEM, keyPEM, err := selfSigned(addr, time.Now())
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil { // the key last: without it there is no pair, and both are made again
		err = errors.Join(durable.WriteFile(certFile, certPEM, 0o644), durable.WriteFile(keyFile, keyPEM, 0o600))
	}
	if err != nil {
		return c, fmt.Errorf("agent: make a certificate: %w", err)
	}
	return tls.X509KeyPair(certPEM, keyPEM)
}

// certificatePEM is certificate, as its two files have it.
func (a *Agent) certificatePEM(addr netip.Addr) (cert, key string, err error) {
	if _, err := a.certificate(addr); err != nil {
		return "", "", err
	}
	certPEM, err := os.ReadFile(a.state("tls/cert.pem"))
	if err != nil {
		return "", "", err
	}
	keyPEM, err := os.ReadFile(a.state("tls/key.pem"))
	return string(certPEM), string(keyPEM), err
}

// selfSigned makes a certificate for an address of the LAN.
func selfSigned(addr netip.Addr, now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: addr.String(), Organization: []string{"sae-agent"}},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(certificateTime), // a phone's clock may be behind at boot
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{addr.AsSlice()},
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
