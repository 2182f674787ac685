package certificate

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"time"
)

// organization is that of all certificates of ours.
const organization = "sae-agent"

// privateNets are the addresses of LANs (RFC 1918).
var privateNets = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16")}

// pair is a certificate of ours and its key.
type pair struct {
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

// ours reports whether we have made a certificate.
func ours(c *x509.Certificate) bool {
	return len(c.Subject.Organization) > 0 && c.Subject.Organization[0] == organization
}

// newAuthority makes what signs certificates of ours, and what computers can trust. It is good for this appliance's names and
// for addresses of LANs alone: nobody can pretend to be another site with its key.
func newAuthority(addr netip.Addr, names []string, now time.Time) (pair, error) {
	tag := make([]byte, 4) // two appliances may have one address
	if _, err := rand.Read(tag); err != nil {
		return pair{}, err
	}
	c := &x509.Certificate{
		Subject:  pkix.Name{CommonName: fmt.Sprintf("%s %s %s", organization, addr, hex.EncodeToString(tag)), Organization: []string{organization}},
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, IsCA: true, MaxPathLenZero: true,
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: append([]string{"local"}, names...),
	}
	for _, p := range append([]netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}, privateNets...) {
		c.PermittedIPRanges = append(c.PermittedIPRanges, &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())})
	}
	return sign(c, authorityTime, pair{}, nil, now)
}

// newCertificate makes one for an address of the LAN and further names, with a new key if key is nil.
func newCertificate(addr netip.Addr, names []string, by pair, key *rsa.PrivateKey, now time.Time) (pair, error) {
	return sign(&x509.Certificate{
		// With the unit it has not the name of an authority that was the certificate itself once.
		Subject:  pkix.Name{CommonName: addr.String(), Organization: []string{organization}, OrganizationalUnit: []string{"appliance"}},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, IPAddresses: []net.IP{addr.AsSlice()}, DNSNames: names,
	}, certificateTime, by, key, now)
}

// sign makes a certificate, with a new key if key is nil. Without an authority it is one itself.
func sign(c *x509.Certificate, lifetime time.Duration, by pair, key *rsa.PrivateKey, now time.Time) (p pair, err error) {
	if p.key = key; key == nil {
		if p.key, err = rsa.GenerateKey(rand.Reader, keyBits); err != nil {
			return p, err
		}
	}
	if by.cert == nil {
		by = pair{c, p.key}
	}
	if c.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return p, err
	}
	c.NotBefore, c.NotAfter = now.Add(-24*time.Hour), now.Add(lifetime) // a phone's clock may be behind at boot
	c.ExtKeyUsage, c.BasicConstraintsValid = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, true
	der, err := x509.CreateCertificate(rand.Reader, c, by.cert, &p.key.PublicKey, by.key)
	if err == nil {
		p.cert, err = x509.ParseCertificate(der)
	}
	return p, err
}

// authorityOf is what has signed a certificate of ours; nil where its file does not have it.
func authorityOf(c tls.Certificate) *x509.Certificate {
	if len(c.Certificate) != 2 {
		return nil
	}
	ca, err := x509.ParseCertificate(c.Certificate[1])
	if err != nil {
		return nil
	}
	return ca
}

// good reports whether who trusts an authority trusts a certificate for all of the names, and for some time to come.
// Firefox takes no authority for a site, as certificates of earlier versions were.
func good(c, authority *x509.Certificate, addr netip.Addr, names []string, now time.Time) bool {
	if c.IsCA || authority == nil {
		return false
	}
	for _, n := range append([]string{addr.String()}, names...) {
		if c.VerifyHostname(n) != nil {
			return false
		}
	}
	at := now.Add(renewBefore)
	for _, begins := range []time.Time{c.NotBefore, authority.NotBefore} {
		if at.Before(begins) {
			at = begins // the clock is not right yet
		}
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	_, err := c.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at})
	return err == nil
}

// encode returns the two as files have them. Others of the chain follow the certificate.
func (p pair) encode(chain ...*x509.Certificate) (certPEM, keyPEM []byte, err error) {
	keyDER, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range append([]*x509.Certificate{p.cert}, chain...) {
		certPEM = append(certPEM, encodeCertificate(c)...)
	}
	return certPEM, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}

func encodeCertificate(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}
