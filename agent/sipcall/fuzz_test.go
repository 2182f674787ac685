package sipcall

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
	"github.com/pion/rtp"
)

// FuzzSession reads what the other side says of its audio.
func FuzzSession(f *testing.F) {
	own, err := session(netip.MustParseAddrPort("192.168.1.20:4000"), pcmu, pcma)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		string(own), "", "v=0\r\n", "v=0\r\no=- 1 1 IN IP4 pbx.example\r\ns=-\r\nc=IN IP4 pbx.example\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n",
		"v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nt=0 0\r\nm=video 4000 RTP/AVP 0\r\nm=audio 0 RTP/AVP 0\r\nm=audio 70000 RTP/AVP 9 8\r\nc=IN IP4 192.0.2.1\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		to, payload, err := parseSession(body)
		if err != nil {
			return
		}
		if payload != pcmu && payload != pcma || to.Port <= 0 || to.Port > 65535 || to.IP == nil {
			t.Errorf("audio to %v in %d", to, payload)
		}
	})
}

// FuzzDialogs reads what a busy lamp is told.
func FuzzDialogs(f *testing.F) {
	for _, seed := range []string{
		"", `<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="1" state="full" entity="sip:101@x"><dialog id="101"><state>confirmed</state></dialog></dialog-info>`,
		"<a><dialog><state>early</state></dialog><dialog><state>terminated</state></dialog></a>", "<a><dialog/></a>",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s, ok := parseDialogs(body)
		if ok && s != Idle && s != Early && s != Talking {
			t.Errorf("the lamp shows %q", s)
		}
	})
}

// FuzzChallenge answers a request for proof of any sort.
func FuzzChallenge(f *testing.F) {
	for _, seed := range []string{
		"", "Digest", `Digest realm="a", nonce="b", qop="auth,auth-int", algorithm=MD5, stale=TRUE`, `Digest realm="a", nonce="b"`, `Basic realm="a"`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		res := sip.NewResponse(sip.StatusUnauthorized, "Unauthorized")
		res.AppendHeader(sip.NewHeader("WWW-Authenticate", header))
		c := challenge(res)
		if c == nil {
			return
		}
		if strings.ContainsAny(header, "\r\n") {
			return // no header of a message has them
		}
		if cred, err := digest.Digest(c, digest.Options{Method: "REGISTER", URI: "sip:pbx", Username: "100", Password: "x"}); err == nil && strings.ContainsAny(cred.String(), "\r\n") {
			t.Errorf("the answer spans lines: %q", cred)
		}
	})
}

// FuzzAudio takes any packet for sound.
func FuzzAudio(f *testing.F) {
	p := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: pcma}, Payload: make([]byte, 2*windowSize)}
	raw, err := p.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte{0x80, pcmu})
	f.Fuzz(func(t *testing.T, packet []byte) {
		a := &audio{changed: make(chan struct{})}
		for range 3 {
			a.datagram(packet)
		}
		if a.window != nil && len(a.window) != windowSize {
			t.Errorf("a window of %d", len(a.window))
		}
		if len(a.filling) > 3*maxPacket {
			t.Errorf("%d samples wait", len(a.filling))
		}
	})
}
