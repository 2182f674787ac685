package agent

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/verify"
)

// echoNumber is where an exchange echoes, ours as well as FreePBX.
const echoNumber = "*43"

// Verify answers control.RunVerification.
func (a *Agent) Verify(ctx context.Context) (control.Verification, error) {
	if !a.verifying.TryLock() {
		return control.Verification{}, &control.Error{Code: http.StatusConflict, Message: verify.ErrBusy.Error()}
	}
	defer a.verifying.Unlock()
	suites := append([]verify.Suite{verify.NewTelephony(a.verifiedExchange())}, a.verifiedStacks()...)
	v := verify.Run(ctx, a.log, suites...)
	a.verified.Note(v)
	a.log.Info("verified", "passed", v.Passed, "seconds", v.Took.Seconds())
	return v, nil
}

// verifiedExchange is the exchange as verify sees it.
func (a *Agent) verifiedExchange() verify.Exchange {
	current := a.current.Load()
	c := current.cfg
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
		x.Extensions = append(x.Extensions, verify.Account{Number: e.Number, Secret: secretOf(e, current.secrets)})
	}
	if c.PBX.Driver != config.DriverNone {
		x.Borrow, x.Phones = a.borrowAccounts, a.verifyPhones
		if j := c.Stacks.Jitsi; j.Enabled {
			x.Meetings = &verify.Meetings{Gateway: j.SIPExtension, Registered: a.gatewayRegistered, Access: j.AccessNumber}
		}
	}
	return x
}
