// Package passkeytest is a device that holds passkeys, for tests: it makes ES256 keys and answers as browsers do.
package passkeytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/go-webauthn/webauthn/protocol/webauthncbor"
)

// Flags of authenticator data (WebAuthn level 3, section 6.1).
const (
	Present  = 1 << 0
	Verified = 1 << 2
	attested = 1 << 6
)

// Device holds one passkey.
type Device struct {
	T      testing.TB
	Origin string // of the page that it is asked by
	Host   string // that it answers for; empty: the one that it is asked for
	Flags  byte
	Format string // of the attestation
	Handle []byte // the account, from the registration
	ID     []byte
	Count  uint32 // of its signatures

	key *ecdsa.PrivateKey
}

// New returns a device without a passkey, whose user is there and shows who they are.
func New(t testing.TB, origin string) *Device {
	return &Device{T: t, Origin: origin, Flags: Present | Verified, Format: "none"}
}

func (d *Device) marshal(v any) []byte {
	d.T.Helper()
	data, err := webauthncbor.Marshal(v)
	if err != nil {
		d.T.Fatal(err)
	}
	return data
}

func (d *Device) read(options string, into any) {
	d.T.Helper()
	if err := json.Unmarshal([]byte(options), into); err != nil {
		d.T.Fatalf("%v: %s", err, options)
	}
}

func (d *Device) client(kind, challenge string) []byte {
	d.T.Helper()
	data, err := json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": d.Origin, "crossOrigin": false})
	if err != nil {
		d.T.Fatal(err)
	}
	return data
}

func (d *Device) authenticator(host string, flags byte, more []byte) []byte {
	if d.Host != "" {
		host = d.Host
	}
	sum := sha256.Sum256([]byte(host))
	return append(binary.BigEndian.AppendUint32(append(sum[:], flags), d.Count), more...)
}

func (d *Device) answer(response map[string]any) string {
	d.T.Helper()
	id := text(d.ID)
	data, err := json.Marshal(map[string]any{
		"id": id, "rawId": id, "type": "public-key", "authenticatorAttachment": "platform",
		"clientExtensionResults": map[string]any{"credProps": map[string]any{"rk": true}}, "response": response,
	})
	if err != nil {
		d.T.Fatal(err)
	}
	return string(data)
}

func text(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// Create makes a passkey.
func (d *Device) Create(options string) (answer string) {
	d.T.Helper()
	var asked struct {
		Challenge string
		RP        struct{ ID string }
		User      struct{ ID string }
	}
	d.read(options, &asked)
	var err error
	if d.Handle, err = base64.RawURLEncoding.DecodeString(asked.User.ID); err != nil {
		d.T.Fatal(err)
	}
	if d.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		d.T.Fatal(err)
	}
	d.ID = []byte(rand.Text())
	point, err := d.key.PublicKey.Bytes()
	if err != nil {
		d.T.Fatal(err)
	}
	more := binary.BigEndian.AppendUint16(make([]byte, 16), uint16(len(d.ID)))
	more = append(append(more, d.ID...), d.marshal(map[int]any{1: 2, 3: -7, -1: 1, -2: point[1:33], -3: point[33:]})...)
	data := d.authenticator(asked.RP.ID, d.Flags|attested, more)
	return d.answer(map[string]any{
		"clientDataJSON":    text(d.client("webauthn.create", asked.Challenge)),
		"attestationObject": text(d.marshal(map[string]any{"fmt": d.Format, "attStmt": map[string]any{}, "authData": data})),
		"transports":        []string{"internal"},
	})
}

// Get answers with the passkey.
func (d *Device) Get(options string) (answer string) {
	d.T.Helper()
	var asked struct{ Challenge, RPID string }
	d.read(options, &asked)
	d.Count++
	data, client := d.authenticator(asked.RPID, d.Flags, nil), d.client("webauthn.get", asked.Challenge)
	hash := sha256.Sum256(client)
	sum := sha256.Sum256(append(append([]byte{}, data...), hash[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, d.key, sum[:])
	if err != nil {
		d.T.Fatal(err)
	}
	return d.answer(map[string]any{
		"clientDataJSON": text(client), "authenticatorData": text(data), "signature": text(signature), "userHandle": text(d.Handle),
	})
}
