package firewall

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/firewall"
)

// Operations implements part.Operator.
func (p *Part) Operations() []control.Handler {
	return []control.Handler{
		control.Handle(control.GetFirewall, p.show),
		control.Handle(control.TestFirewall, p.test),
		control.Handle(control.ListBans, p.bans),
		control.Handle(control.AddBan, p.addBan),
		control.Handle(control.RemoveBans, p.removeBans),
	}
}

// show answers control.GetFirewall.
func (p *Part) show(context.Context, control.None) (control.Firewall, error) {
	m, err := p.Running()
	if err != nil {
		return control.Firewall{}, err
	}
	st, cfg := m.Status(), m.Config()
	out := control.Firewall{Active: st.Active, Since: st.Since, Repairs: st.Repairs, Problem: st.Problem}
	if !cfg.Disabled {
		out.Rules = firewall.Render(cfg)
	}
	return out, nil
}

// test answers control.TestFirewall.
func (p *Part) test(ctx context.Context, q control.FirewallQuestion) (control.FirewallAnswer, error) {
	m, err := p.Running()
	if err != nil {
		return control.FirewallAnswer{}, err
	}
	cfg := m.Config()
	if cfg.Disabled {
		return control.FirewallAnswer{Accept: true, Why: "no rules of ours are in force"}, nil
	}
	packet, err := packetOf(cfg, q)
	if err != nil {
		return control.FirewallAnswer{}, err
	}
	if packet.In, err = m.SetsOf(ctx, packet.From); err != nil {
		return control.FirewallAnswer{}, err
	}
	d := firewall.Decide(cfg, packet)
	return control.FirewallAnswer{Accept: d.Accept, Zone: string(packet.Zone), Chain: d.Chain, Rule: d.Rule, Why: d.Why}, nil
}

// packetOf understands what an operator asks.
func packetOf(c firewall.Config, q control.FirewallQuestion) (firewall.Packet, error) {
	bad := func(format string, args ...any) (firewall.Packet, error) {
		return firewall.Packet{}, &control.Error{Code: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
	}
	p := firewall.Packet{Zone: firewall.Zone(q.From), To: firewall.Zone(q.To), Protocol: q.Protocol, Port: q.Port}
	if p.To == "" {
		p.To = firewall.ZoneLocal
	}
	zones := []firewall.Zone{firewall.ZoneWAN, firewall.ZoneLAN, firewall.ZoneContainers, firewall.ZoneTrusted, firewall.ZoneLocal}
	if !slices.Contains(zones, p.To) {
		return bad("%q is no place to go to: write local, wan, lan or docker", q.To)
	}
	if !slices.Contains([]string{"tcp", "udp", "icmp"}, p.Protocol) {
		return bad("%q is no protocol: write tcp, udp or icmp", q.Protocol)
	}
	if (p.Port == 0) != (p.Protocol == "icmp") {
		return bad("a port from 1 to 65535 goes with tcp and udp, and none with icmp")
	}
	if !slices.Contains(zones, p.Zone) {
		from, err := netip.ParseAddr(q.From)
		if err != nil {
			return bad("%q is no sender: write wan, lan, docker, trusted, or an address", q.From)
		}
		p.From, p.Zone = from.Unmap(), c.ZoneOf(from.Unmap())
	} else {
		p.From = sampleAddr(c, p.Zone)
	}
	p.Published = p.To == firewall.ZoneLocal && slices.ContainsFunc(c.Services, func(s firewall.Service) bool {
		return s.Published && s.Protocol == p.Protocol && s.First <= p.Port && p.Port <= s.Last
	})
	return p, nil
}

// sampleAddr returns an address of a zone that has no rule of its own.
func sampleAddr(c firewall.Config, z firewall.Zone) netip.Addr {
	if z == firewall.ZoneLAN && len(c.LANNets) > 0 {
		return c.LANNets[0].Addr().Next()
	}
	return netip.IPv4Unspecified()
}

// bans answers control.ListBans.
func (p *Part) bans(ctx context.Context, _ control.None) ([]control.Ban, error) {
	m, err := p.Running()
	if err != nil {
		return nil, err
	}
	bans, err := m.Bans(ctx)
	out := []control.Ban{}
	for _, b := range bans {
		out = append(out, controlBan(b))
	}
	return out, err
}

func controlBan(b firewall.Ban) control.Ban {
	return control.Ban{
		Address: b.Addr.String(), Jail: b.Jail, Reason: b.Reason, Attempts: b.Attempts, Since: b.Since, Until: b.Until, Times: b.Times, Duration: b.Duration,
	}
}

// addBan answers control.AddBan.
func (p *Part) addBan(ctx context.Context, b control.BanRequest) (control.Ban, error) {
	m, err := p.Running()
	if err != nil {
		return control.Ban{}, err
	}
	addr, err := senderAddr(b.Address)
	if err != nil {
		return control.Ban{}, err
	}
	done, err := m.Ban(ctx, firewall.Ban{Addr: addr, Jail: b.Jail, Reason: b.Reason, Attempts: b.Attempts, Duration: b.Duration})
	if errors.Is(err, firewall.ErrExempt) || errors.Is(err, firewall.ErrDisabled) {
		return control.Ban{}, &control.Error{Code: http.StatusConflict, Message: err.Error()}
	}
	return controlBan(done), err
}

// removeBans answers control.RemoveBans: in the ruleset, and wherever else bans are noted.
func (p *Part) removeBans(ctx context.Context, r control.BanRemoval) (control.BanRemoved, error) {
	m, err := p.Running()
	if err != nil {
		return control.BanRemoved{}, err
	}
	out := control.BanRemoved{Addresses: []string{}}
	if r.All {
		lifted, err := m.UnbanAll(ctx)
		for _, b := range lifted {
			out.Addresses = append(out.Addresses, b.Addr.String())
		}
		return out, errors.Join(err, p.deps.LiftElsewhere(ctx, netip.Addr{}))
	}
	addr, err := senderAddr(r.Address)
	if err != nil {
		return out, err
	}
	if r.Jail != "" {
		return p.liftOfJail(ctx, m, addr, r.Jail)
	}
	banned, err := m.Unban(ctx, addr)
	if banned {
		out.Addresses = append(out.Addresses, addr.String())
	}
	return out, errors.Join(err, p.deps.LiftElsewhere(ctx, addr))
}

// liftOfJail lifts a sender's ban if a jail has imposed it, on that jail's behalf:
// another one's stays for its time.
func (p *Part) liftOfJail(ctx context.Context, m *firewall.Manager, addr netip.Addr, jail string) (control.BanRemoved, error) {
	out := control.BanRemoved{Addresses: []string{}}
	bans, err := m.Bans(ctx)
	for _, b := range bans {
		if b.Jail != jail || !sameSender(b.Addr, addr) {
			continue
		}
		if _, err := m.Unban(ctx, addr); err != nil {
			return out, err
		}
		out.Addresses = append(out.Addresses, addr.String())
	}
	return out, err
}

// sameSender compares addresses as the firewall does: a sender with IPv6 is a /64.
func sameSender(a, b netip.Addr) bool {
	if a.Is4() {
		return a == b
	}
	p, err := a.Prefix(64)
	return err == nil && p.Contains(b)
}

func senderAddr(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, &control.Error{Code: http.StatusBadRequest, Message: fmt.Sprintf("%q is not an address", text)}
	}
	return addr.Unmap(), nil
}
