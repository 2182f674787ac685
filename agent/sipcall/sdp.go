package sipcall

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/pion/sdp/v3"
)

// Payload types of G.711 (RFC 3551 table 4), which every phone speaks.
const (
	pcmu = 0
	pcma = 8
)

// errNoCodec says that the other side speaks nothing that we do.
var errNoCodec = errors.New("no audio in G.711 is offered")

// AddressError says that the other side wants its audio where no audio can be sent.
type AddressError struct{ Address string }

func (e *AddressError) Error() string {
	return fmt.Sprintf("audio is wanted at %q, which is not an address", e.Address)
}

// session describes our end of the audio (RFC 4566, RFC 3264).
func session(local netip.AddrPort, payloads ...uint8) ([]byte, error) {
	m := &sdp.MediaDescription{MediaName: sdp.MediaName{
		Media: "audio", Port: sdp.RangedPort{Value: int(local.Port())}, Protos: []string{"RTP", "AVP"},
	}}
	for _, p := range payloads {
		m.WithCodec(p, map[uint8]string{pcmu: "PCMU", pcma: "PCMA"}[p], sampleRate, 0, "")
	}
	m.WithValueAttribute("ptime", "20").WithPropertyAttribute(sdp.AttrKeySendRecv)
	host := local.Addr().String()
	d := sdp.SessionDescription{
		Origin:                sdp.Origin{Username: "-", SessionID: 1, SessionVersion: 1, NetworkType: "IN", AddressType: "IP4", UnicastAddress: host},
		SessionName:           "-",
		ConnectionInformation: &sdp.ConnectionInformation{NetworkType: "IN", AddressType: "IP4", Address: &sdp.Address{Address: host}},
		TimeDescriptions:      []sdp.TimeDescription{{}},
		MediaDescriptions:     []*sdp.MediaDescription{m},
	}
	return d.Marshal()
}

// parseSession returns where the other side wants its audio, and in which of our
// codecs.
func parseSession(body []byte) (to *net.UDPAddr, payload uint8, err error) {
	var d sdp.SessionDescription
	if err := d.Unmarshal(body); err != nil {
		return nil, 0, fmt.Errorf("session description: %w", err)
	}
	i := slices.IndexFunc(d.MediaDescriptions, func(m *sdp.MediaDescription) bool {
		return m.MediaName.Media == "audio" && m.MediaName.Port.Value != 0
	})
	if i < 0 {
		return nil, 0, errNoCodec
	}
	m := d.MediaDescriptions[i]
	c := m.ConnectionInformation
	if c == nil {
		c = d.ConnectionInformation
	}
	if c == nil || c.Address == nil {
		return nil, 0, errors.New("session description: no address")
	}
	addr, err := netip.ParseAddr(c.Address.Address)
	if err != nil {
		return nil, 0, &AddressError{c.Address.Address}
	}
	for _, f := range m.MediaName.Formats {
		if n, err := strconv.Atoi(f); err == nil && (n == pcmu || n == pcma) {
			return net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, uint16(m.MediaName.Port.Value))), uint8(n), nil
		}
	}
	return nil, 0, errNoCodec
}
