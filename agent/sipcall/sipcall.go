// Package sipcall is a small SIP telephone without a person at it: it registers a
// line, calls and answers, sends a tone and says what it hears, and watches whether
// another line is busy. It proves that an exchange works.
//
// It knows nothing of the exchange, nor of the network it is on: its sockets are
// opened by who makes it.
package sipcall

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// ErrSecret says that the server does not take the phone's secret.
var ErrSecret = errors.New("the server does not take the secret")

// ErrSilent says that the server does not answer at all.
var ErrSilent = errors.New("the SIP server does not answer")

// Transports of SIP messages.
const (
	UDP = "UDP"
	TCP = "TCP"
	TLS = "TLS"
)

// proofs is how often a phone proves who it is for one request: once, and again if
// the server found the nonce too old (RFC 3261 section 22).
const proofs = 2

// Config is what a phone is set up with.
type Config struct {
	Server    netip.AddrPort // where all messages go
	Domain    string         // host part of addresses; empty: the server's address
	Transport string         // UDP, TCP or TLS; empty: UDP
	Number    string         // user part of the phone's own address
	Auth      string         // name to prove; empty: the number
	Secret    string
	Name      string // shown to who is called
	UserAgent string
	// Tone is what the phone sends in a call, in Hz.
	Tone float64
	// Listen opens a UDP socket on the phone's own address, for audio, and with the
	// transport UDP for messages. It MUST NOT be bound to the unspecified address.
	Listen func(port uint16) (net.PacketConn, error)
	Port   uint16 // of messages over UDP; 0: any
	// Dial connects to the server, for TCP and TLS.
	Dial func(ctx context.Context) (net.Conn, error)
	// CheckSync is called when the server asks the phone to fetch its configuration again
	// (NOTIFY with the event check-sync), or to restart. It must not block. Nil: it is not called.
	CheckSync func(reboot bool)
	// Logger is told what is wrong with messages. Nil: nobody is.
	Logger *slog.Logger
}

// Phone is a telephone that is switched on. Its methods may be used by several
// goroutines.
type Phone struct {
	cfg     Config
	ua      *sipgo.UserAgent
	client  *sipgo.Client
	dialogs sipgo.DialogUA
	contact sip.ContactHeader
	carrier *carrier
	closed  chan struct{}
	wg      sync.WaitGroup
	ringing sync.WaitGroup // calls that nobody has decided on
	calls   chan *Incoming

	mu       sync.Mutex // guards the following
	off      bool
	talks    map[string]dialog
	watches  map[string]*Watch
	register *sip.Request // the one sent last
}

// New switches a phone on; Close it after use. The context bounds the connection to
// the server only.
func New(ctx context.Context, cfg Config) (*Phone, error) {
	cfg.Transport = cmp.Or(cfg.Transport, UDP)
	cfg.Domain = cmp.Or(cfg.Domain, cfg.Server.Addr().String())
	cfg.Auth = cmp.Or(cfg.Auth, cfg.Number)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Phone{
		cfg: cfg, closed: make(chan struct{}), calls: make(chan *Incoming, 1),
		talks: make(map[string]dialog), watches: make(map[string]*Watch),
	}
	if err := p.open(ctx); err != nil {
		return nil, fmt.Errorf("sipcall: %w", err)
	}
	return p, nil
}

// open connects the phone to its network.
func (p *Phone) open(ctx context.Context) error {
	c, err := dial(ctx, p.cfg)
	if err != nil {
		return err
	}
	p.ua, err = sipgo.NewUA(
		sipgo.WithUserAgent(p.cfg.UserAgent),
		sipgo.WithUserAgentTransportLayerOptions(sip.WithTransportLayerLogger(p.cfg.Logger)),
		sipgo.WithUserAgentTransactionLayerOptions(sip.WithTransactionLayerLogger(p.cfg.Logger)),
	)
	if err != nil {
		return errors.Join(err, c.close())
	}
	c.pool = p.ua.TransportLayer().Pool(p.cfg.Transport)
	options := []sipgo.ClientOption{sipgo.WithClientNAT(), sipgo.WithClientLogger(p.cfg.Logger)}
	if p.cfg.Transport == UDP {
		options = append(options, sipgo.WithClientConnectionAddr(c.local().String()))
	}
	if p.client, err = sipgo.NewClient(p.ua, options...); err != nil {
		return errors.Join(err, c.close())
	}
	server, err := sipgo.NewServer(p.ua, sipgo.WithServerLogger(p.cfg.Logger))
	if err != nil {
		return errors.Join(err, c.close())
	}
	p.contact = sip.ContactHeader{Address: sip.Uri{
		Scheme: "sip", User: p.cfg.Number, Host: c.local().Addr().String(), Port: int(c.local().Port()),
	}}
	if p.cfg.Transport != UDP {
		p.contact.Address.UriParams = sip.HeaderParams{{K: "transport", V: strings.ToLower(p.cfg.Transport)}}
	}
	// Everything goes to the server, whatever contact it names.
	p.dialogs = sipgo.DialogUA{Client: p.client, ContactHDR: p.contact, RewriteContact: true}
	p.handle(server)
	p.carrier = c
	p.wg.Go(func() { c.serve(server) })
	<-c.ready
	return nil
}

// Close ends calls and switches the phone off. It does not unregister.
func (p *Phone) Close() error {
	close(p.closed)
	p.mu.Lock()
	p.off = true
	talks := slices.Collect(maps.Values(p.talks))
	p.mu.Unlock()
	for _, t := range talks {
		t.audio.close()
	}
	p.declined()
	err := p.carrier.close()
	p.wg.Wait()
	// Not sipgo's transports: that would empty the pool of connections, see carrier.retire.
	p.ua.TransactionLayer().Close()
	return err
}

// declined waits until who calls knows that nobody answers.
func (p *Phone) declined() {
	done := make(chan struct{})
	p.wg.Go(func() {
		p.ringing.Wait()
		close(done)
	})
	select {
	case <-done:
	case <-time.After(endTime):
	}
}

// handle says what the phone does with requests.
func (p *Phone) handle(s *sipgo.Server) {
	s.OnInvite(p.onInvite)
	s.OnAck(p.onAck)
	s.OnBye(p.onBye)
	s.OnNotify(p.onNotify)
	fine := func(req *sip.Request, tx sip.ServerTransaction) { respond(tx, req, sip.StatusOK) }
	s.OnOptions(fine)
	s.OnUpdate(fine)
	s.OnInfo(fine)
}

// respond answers a request. A peer that has gone asks again, or not.
func respond(tx sip.ServerTransaction, req *sip.Request, code int) {
	_ = tx.Respond(sip.NewResponseFromRequest(req, code, "", nil))
}

// Register makes the phone reachable at the server for that long; 0 takes it off.
func (p *Phone) Register(ctx context.Context, lifetime time.Duration) error {
	expires := sip.ExpiresHeader(lifetime / time.Second)
	res, err := p.ask(ctx, p.registration(&expires, &p.contact))
	if err == nil {
		err = refusal(res)
	}
	if err != nil {
		return fmt.Errorf("REGISTER of %s: %w", p.cfg.Number, err)
	}
	return nil
}

// Contacts asks the server where the line is reachable (RFC 3261 section 10.2.3).
// That proves the secret and changes nothing.
func (p *Phone) Contacts(ctx context.Context) ([]string, error) {
	res, err := p.ask(ctx, p.registration())
	if err == nil {
		err = refusal(res)
	}
	if err != nil {
		return nil, fmt.Errorf("REGISTER of %s: %w", p.cfg.Number, err)
	}
	var out []string
	for _, h := range res.GetHeaders("Contact") {
		out = append(out, h.Value())
	}
	return out, nil
}

// registration is the next REGISTER. All of a phone have one Call-ID, and their
// numbers grow (RFC 3261 section 10.2.4).
func (p *Phone) registration(headers ...sip.Header) *sip.Request {
	req := p.request(sip.REGISTER, sip.Uri{Scheme: "sip", Host: p.cfg.Domain}, p.address(p.cfg.Number))
	p.mu.Lock()
	defer p.mu.Unlock()
	if last := p.register; last != nil {
		req.ReplaceHeader(sip.HeaderClone(last.CallID()))
		req.CSeq().SeqNo = last.CSeq().SeqNo + proofs + 1
	}
	p.register = req.Clone()
	for _, h := range headers {
		req.AppendHeader(sip.HeaderClone(h))
	}
	return req
}

// Options asks the server for its options, and is glad of any answer (RFC 3261
// section 11). It needs no account.
func (p *Phone) Options(ctx context.Context) error {
	uri := sip.Uri{Scheme: "sip", Host: p.cfg.Domain}
	return p.options(ctx, p.request(sip.OPTIONS, uri, uri))
}

// Ping does the same with another address, past the server. The phone's transport
// must be UDP.
func (p *Phone) Ping(ctx context.Context, uri string) error {
	var to sip.Uri
	if err := sip.ParseUri(uri, &to); err != nil {
		return fmt.Errorf("OPTIONS to %s: %w", uri, err)
	}
	req := p.request(sip.OPTIONS, to, to)
	req.SetDestination(net.JoinHostPort(to.Host, strconv.Itoa(cmp.Or(to.Port, sip.DefaultUdpPort))))
	return p.options(ctx, req)
}

func (p *Phone) options(ctx context.Context, req *sip.Request) error {
	if _, err := p.client.Do(ctx, req); err != nil {
		return fmt.Errorf("OPTIONS to %s: %w", req.Recipient.String(), p.why(ctx, err))
	}
	return nil
}

// address returns the address of a number at the phone's server.
func (p *Phone) address(number string) sip.Uri {
	return sip.Uri{Scheme: "sip", User: number, Host: p.cfg.Domain}
}

// request begins a request from the phone to its server.
func (p *Phone) request(method sip.RequestMethod, uri, to sip.Uri) *sip.Request {
	if port := int(p.cfg.Server.Port()); uri.Host == p.cfg.Domain && port != sip.DefaultUdpPort {
		uri.Port = port
	}
	req := sip.NewRequest(method, uri)
	callID := sip.CallIDHeader(sip.GenerateTagN(24))
	req.AppendHeader(&sip.FromHeader{
		DisplayName: p.cfg.Name, Address: p.address(p.cfg.Number), Params: sip.HeaderParams{{K: "tag", V: sip.GenerateTagN(12)}},
	})
	req.AppendHeader(&sip.ToHeader{Address: to})
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: method})
	req.AppendHeader(sip.NewHeader("User-Agent", p.cfg.UserAgent))
	req.SetTransport(p.cfg.Transport)
	req.SetDestination(p.cfg.Server.String())
	return req
}

// ask sends a request until its final answer, and proves who the phone is when the
// server wants to know.
func (p *Phone) ask(ctx context.Context, req *sip.Request) (*sip.Response, error) {
	res, err := p.client.Do(ctx, req)
	for proof := 0; err == nil; proof++ {
		c := challenge(res)
		switch {
		case c == nil:
			return res, nil
		case proof == proofs || proof > 0 && !c.Stale:
			return nil, fmt.Errorf("%d %s: %w", res.StatusCode, res.Reason, ErrSecret)
		}
		res, err = p.client.DoDigestAuth(ctx, req, res, sipgo.DigestAuth{Username: p.cfg.Auth, Password: p.cfg.Secret})
	}
	return nil, p.why(ctx, err)
}

// challenge returns how the server asks who the phone is; nil: it does not.
func challenge(res *sip.Response) *digest.Challenge {
	name := map[int]string{sip.StatusUnauthorized: "WWW-Authenticate", sip.StatusProxyAuthRequired: "Proxy-Authenticate"}[res.StatusCode]
	if name == "" {
		return nil
	}
	h := res.GetHeader(name)
	if h == nil {
		return nil
	}
	c, err := digest.ParseChallenge(h.Value())
	if err != nil {
		return nil
	}
	return c
}

// refusal is an error for an answer other than success.
func refusal(res *sip.Response) error {
	if res.IsSuccess() {
		return nil
	}
	return fmt.Errorf("%d %s", res.StatusCode, res.Reason)
}

// why says in words why a request had no answer.
func (p *Phone) why(ctx context.Context, err error) error {
	var op *net.OpError
	switch {
	case ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
		return context.Cause(ctx)
	case errors.Is(err, sip.ErrTransactionTimeout):
		return ErrSilent
	case errors.As(err, &op):
		return op.Err // without what was to be sent
	}
	return err
}
