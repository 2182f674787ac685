// Package verify is the part that does the final checks for real: calls, voicemail,
// a meeting, files.
package verify

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/agent/verify"
)

const name = "verify"

// echoNumber is where an exchange echoes, ours as well as FreePBX.
const echoNumber = "*43"

// Exchange is what the checks know of the exchange, and ask of it.
type Exchange interface {
	// State is what is known of it; false: there is none that we watch.
	State() (pbx.State, bool)
	// Lend has it have these accounts besides, and no others.
	Lend(ctx context.Context, accounts []pbx.Extension) error
}

// Users are accounts in the collaboration server.
type Users interface {
	AddUser(ctx context.Context, u kind.User) error
	RemoveUser(ctx context.Context, name string) error
}

// Phone is a desk phone as the checks see it.
type Phone struct {
	MAC, Extension string
	Addr           netip.Addr
	Registered     bool
	Trouble        string
}

// Deps are facts of other parts, and orders to them.
type Deps struct {
	Exchange          Exchange
	Users             Users
	Phones            func() []Phone
	GatewayRegistered func() bool
	Certificate       func() (tls.Certificate, error)
}

// Part makes the checks.
type Part struct {
	host part.Host
	deps Deps

	busy sync.Mutex // held while the checks are made
	last verify.Last
}

// New returns the part.
func New(h part.Host, d Deps) *Part { return &Part{host: h, deps: d} }

// Name implements part.Part.
func (p *Part) Name() string { return name }

// Units implements part.Part. Nothing runs by itself.
func (p *Part) Units() []part.Unit { return nil }

// Collectors implements part.Measured.
func (p *Part) Collectors() []prometheus.Collector { return []prometheus.Collector{&p.last} }

// Operations implements part.Operator.
func (p *Part) Operations() []control.Handler {
	return []control.Handler{control.Handle(control.RunVerification, p.run)}
}

func (p *Part) run(ctx context.Context, _ control.None) (control.Verification, error) {
	if !p.busy.TryLock() {
		return control.Verification{}, &control.Error{Code: http.StatusConflict, Message: verify.ErrBusy.Error()}
	}
	defer p.busy.Unlock()
	suites := append([]verify.Suite{verify.NewTelephony(p.exchange())}, p.pages()...)
	log := p.host.Logger(name)
	v := verify.Run(ctx, log, suites...)
	p.last.Note(v)
	log.Info("verified", "passed", v.Passed, "seconds", v.Took.Seconds())
	return v, nil
}

// exchange is the exchange as verify sees it.
func (p *Part) exchange() verify.Exchange {
	in := p.host.Running()
	c := in.Config
	x := verify.Exchange{
		Server: netip.AddrPortFrom(c.PBX.Address, c.PBX.Port), Transport: string(c.Provisioning.Transport),
		Voicemail: c.PBX.Voicemail, Echo: echoNumber,
		Listen: func(port uint16) (net.PacketConn, error) {
			return net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.LAN.Address.Addr(), port)))
		},
	}
	x.Dial = func(ctx context.Context) (net.Conn, error) {
		if c.Provisioning.Transport == config.TransportTLS {
			// The exchange has a certificate of its own making. It is on this machine, or where the file says.
			d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
			return d.DialContext(ctx, "tcp4", x.Server.String())
		}
		return new(net.Dialer).DialContext(ctx, "tcp4", x.Server.String())
	}
	for _, e := range c.Extensions {
		x.Extensions = append(x.Extensions, verify.Account{Number: e.Number, Secret: e.SecretFrom(in.Secrets)})
	}
	if c.PBX.Driver != config.DriverNone {
		x.Borrow, x.Phones = p.borrowAccounts, p.phones
		if j := c.Stacks.Jitsi; j.Enabled {
			x.Meetings = &verify.Meetings{Gateway: j.SIPExtension, Registered: p.deps.GatewayRegistered, Access: j.AccessNumber}
		}
	}
	return x
}
