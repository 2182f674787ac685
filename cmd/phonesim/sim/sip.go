package sim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

const (
	sipT1      = 500 * time.Millisecond // RFC 3261 section 17.1.2.1
	sipT2      = 4 * time.Second
	sipT4      = 64 * sipT1 // timer F: nobody answers
	challenges = 2          // one, and another if the nonce was stale
	expires    = 600        // seconds
)

// registration is a phone's line at its SIP server.
type registration struct {
	path      sipPath
	account   account
	userAgent string
	callID    string
	tag       string
	cseq      uint32
}

// register makes the line of the account known to its server.
func (h *handset) register(ctx context.Context, a account) error {
	path, err := h.dialSIP(ctx, a)
	if err != nil {
		return fmt.Errorf("REGISTER of %s: %w", a.user, err)
	}
	r := &registration{
		path: path, account: a, userAgent: h.userAgent(),
		callID: fmt.Sprintf("%s@%v", sip.GenerateTagN(16), path.local().Addr()), tag: sip.GenerateTagN(10),
	}
	h.line = r
	if err := r.put(ctx, expires); err != nil {
		return fmt.Errorf("REGISTER of %s: %w", a.user, err)
	}
	return nil
}

// remove takes the line off its server.
func (r *registration) remove(ctx context.Context) error {
	if err := r.put(ctx, 0); err != nil {
		return fmt.Errorf("unregister %s: %w", r.account.user, err)
	}
	return nil
}

func (r *registration) close() error { return r.path.close() }

// put registers the line for so many seconds.
func (r *registration) put(ctx context.Context, seconds uint32) error {
	var proof sip.Header
	for asked := 0; ; asked++ {
		req := r.request(seconds)
		if proof != nil {
			req.AppendHeader(proof)
		}
		res, err := r.exchange(ctx, req)
		switch {
		case err != nil:
			return err
		case res.StatusCode == sip.StatusOK:
			return nil
		case res.StatusCode != sip.StatusUnauthorized && res.StatusCode != sip.StatusProxyAuthRequired:
			return fmt.Errorf("%d %s", res.StatusCode, res.Reason)
		case asked == challenges || asked > 0 && !stale(res):
			return fmt.Errorf("%d %s: the server does not take the password of the file", res.StatusCode, res.Reason)
		}
		if proof, err = r.prove(req, res); err != nil {
			return err
		}
	}
}

// request builds a REGISTER (RFC 3261 section 10.2).
func (r *registration) request(seconds uint32) *sip.Request {
	local, a := r.path.local(), r.account
	uri := sip.Uri{Scheme: "sip", Host: a.host}
	if a.port != sipPort {
		uri.Port = int(a.port)
	}
	aor := sip.Uri{Scheme: "sip", User: a.user, Host: a.host}
	contact := sip.Uri{Scheme: "sip", User: a.user, Host: local.Addr().String(), Port: int(local.Port())}
	if a.transport != "UDP" {
		contact.UriParams = sip.HeaderParams{{K: "transport", V: strings.ToLower(a.transport)}}
	}
	r.cseq++
	callID, hops, length, lifetime := sip.CallIDHeader(r.callID), sip.MaxForwardsHeader(70), sip.ContentLengthHeader(0), sip.ExpiresHeader(seconds)
	req := sip.NewRequest(sip.REGISTER, uri)
	for _, h := range []sip.Header{
		&sip.ViaHeader{
			ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: a.transport, Host: local.Addr().String(), Port: int(local.Port()),
			Params: sip.HeaderParams{{K: "branch", V: sip.GenerateBranch()}, {K: "rport"}},
		},
		&hops,
		&sip.FromHeader{DisplayName: a.display, Address: aor, Params: sip.HeaderParams{{K: "tag", V: r.tag}}},
		&sip.ToHeader{DisplayName: a.display, Address: aor},
		&callID,
		&sip.CSeqHeader{SeqNo: r.cseq, MethodName: sip.REGISTER},
		&sip.ContactHeader{Address: contact},
		&lifetime,
		sip.NewHeader("User-Agent", r.userAgent),
		&length,
	} {
		req.AppendHeader(h)
	}
	return req
}

// exchange sends a request until there is a final response to it.
func (r *registration) exchange(ctx context.Context, req *sip.Request) (*sip.Response, error) {
	text := req.String()
	end := time.Now().Add(sipT4)
	for wait, again := sipT1, true; time.Now().Before(end); wait = min(2*wait, sipT2) {
		if again {
			if err := r.path.send(ctx, text); err != nil {
				return nil, err
			}
		}
		again = r.account.transport == "UDP" // what goes over TCP is not lost
		for round := time.Now().Add(wait); ; {
			res, err := r.path.next(ctx, time.Until(round))
			if err != nil {
				return nil, err
			}
			if res == nil {
				break
			}
			if r.answers(res) && res.StatusCode >= 200 {
				return res, nil
			}
		}
	}
	return nil, errors.New("the SIP server does not answer")
}

// answers reports whether the response is to the request that was sent last.
func (r *registration) answers(res *sip.Response) bool {
	cseq, id := res.CSeq(), res.CallID()
	return cseq != nil && id != nil && cseq.SeqNo == r.cseq && id.Value() == r.callID
}

// challengeOf returns the challenge of a 401 or 407 and the header to answer with.
func challengeOf(res *sip.Response) (challenge *digest.Challenge, answer string, err error) {
	asks, answer := "WWW-Authenticate", "Authorization"
	if res.StatusCode == sip.StatusProxyAuthRequired {
		asks, answer = "Proxy-Authenticate", "Proxy-Authorization"
	}
	h := res.GetHeader(asks)
	if h == nil {
		return nil, "", fmt.Errorf("%d without %s", res.StatusCode, asks)
	}
	challenge, err = digest.ParseChallenge(h.Value())
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", asks, err)
	}
	return challenge, answer, nil
}

// stale reports whether only the nonce was too old, not the password wrong.
func stale(res *sip.Response) bool {
	c, _, err := challengeOf(res)
	return err == nil && c.Stale
}

// prove answers a challenge to the request (RFC 3261 section 22).
func (r *registration) prove(req *sip.Request, res *sip.Response) (sip.Header, error) {
	challenge, answer, err := challengeOf(res)
	if err != nil {
		return nil, err
	}
	cred, err := digest.Digest(challenge, digest.Options{
		Method: string(sip.REGISTER), URI: req.Recipient.String(), Username: r.account.auth, Password: r.account.password, Count: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("digest: %w", err)
	}
	return sip.NewHeader(answer, cred.String()), nil
}
