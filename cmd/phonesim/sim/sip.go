package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

const (
	sipPort  = 5060
	sipT1    = 500 * time.Millisecond // RFC 3261 section 17.1.1.1
	sipTries = 7
)

// register registers an account over UDP, answering one digest challenge.
func (h *host) register(ctx context.Context, a account, userAgent string) error {
	if a.transport != "udp" {
		return fmt.Errorf("the file says SIP over %s, which the simulator does not speak", a.transport)
	}
	server, err := netip.ParseAddrPort(a.server)
	if err != nil {
		return fmt.Errorf("the SIP server is %q, which is no address", a.server)
	}
	in := h.listen(sipPort)
	defer h.unlisten(sipPort)
	r := registration{host: h, account: a, server: server, userAgent: userAgent, callID: fmt.Sprintf("%08x@%v", rand.Uint32(), h.address())}
	res, err := r.send(ctx, in, "")
	if err != nil {
		return err
	}
	if res.StatusCode == 401 || res.StatusCode == 407 {
		answer, header, err := r.authorize(res)
		if err != nil {
			return err
		}
		if res, err = r.send(ctx, in, header+": "+answer); err != nil {
			return err
		}
	}
	if res.StatusCode != 200 {
		return fmt.Errorf("REGISTER of %s: %d %s", a.user, res.StatusCode, res.Reason)
	}
	return nil
}

// registration is one REGISTER and its repetitions.
type registration struct {
	host      *host
	account   account
	server    netip.AddrPort
	userAgent string
	callID    string
	cseq      int
}

// text writes the request (RFC 3261 section 10.2).
func (r *registration) text(branch, authorization string) string {
	addr := netip.AddrPortFrom(r.host.address(), sipPort)
	if authorization != "" {
		authorization += "\r\n"
	}
	return "REGISTER sip:" + r.server.Addr().String() + " SIP/2.0\r\n" +
		"Via: SIP/2.0/UDP " + addr.String() + ";branch=" + branch + ";rport\r\n" +
		"Max-Forwards: 70\r\n" +
		"From: <sip:" + r.account.user + "@" + r.server.Addr().String() + ">;tag=" + branch[7:] + "\r\n" +
		"To: <sip:" + r.account.user + "@" + r.server.Addr().String() + ">\r\n" +
		"Call-ID: " + r.callID + "\r\n" +
		"CSeq: " + strconv.Itoa(r.cseq) + " REGISTER\r\n" +
		"Contact: <sip:" + r.account.user + "@" + addr.String() + ">\r\n" +
		authorization +
		"User-Agent: " + r.userAgent + "\r\n" +
		"Expires: 600\r\nContent-Length: 0\r\n\r\n"
}

// send sends the request until there is a final response to it.
func (r *registration) send(ctx context.Context, in <-chan datagram, authorization string) (*sip.Response, error) {
	r.cseq++
	branch := fmt.Sprintf("z9hG4bK%08x", rand.Uint32())
	request := []byte(r.text(branch, authorization))
	for i, wait := 0, sipT1; i < sipTries; i, wait = i+1, min(2*wait, 4*time.Second) {
		if err := r.host.sendUDP(ctx, sipPort, r.server, request); err != nil {
			return nil, err
		}
		for timeout := time.After(wait); ; {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case d := <-in:
				if res := r.response(d.payload); res != nil && res.StatusCode >= 200 {
					return res, nil
				}
				continue
			case <-timeout:
			}
			break
		}
	}
	return nil, errors.New("the SIP server does not answer")
}

// response reads the response to the request that was sent last.
func (r *registration) response(b []byte) *sip.Response {
	m, err := sip.ParseMessage(b)
	if err != nil {
		return nil
	}
	res, ok := m.(*sip.Response)
	if !ok || res.CSeq() == nil || res.CSeq().SeqNo != uint32(r.cseq) || res.CallID() == nil || res.CallID().Value() != r.callID {
		return nil
	}
	return res
}

// authorize answers a digest challenge (RFC 3261 section 22).
func (r *registration) authorize(res *sip.Response) (value, header string, err error) {
	ask, answer := "WWW-Authenticate", "Authorization"
	if res.StatusCode == 407 {
		ask, answer = "Proxy-Authenticate", "Proxy-Authorization"
	}
	h := res.GetHeader(ask)
	if h == nil {
		return "", "", fmt.Errorf("%d without %s", res.StatusCode, ask)
	}
	challenge, err := digest.ParseChallenge(h.Value())
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", ask, err)
	}
	cred, err := digest.Digest(challenge, digest.Options{
		Method: "REGISTER", URI: "sip:" + r.server.Addr().String(), Username: r.account.auth, Password: r.account.password,
	})
	if err != nil {
		return "", "", fmt.Errorf("digest: %w", err)
	}
	return cred.String(), answer, nil
}
