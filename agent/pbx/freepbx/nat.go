package freepbx

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sae-agent/sae-agent/agent/pbx"
	problems "github.com/sae-agent/sae-agent/agent/problem"
)

const sipSettings = "Settings, Asterisk SIP Settings"

// localNetwork makes the LAN a local network of Asterisk's. FreePBX's install stores an external address and no local
// network: phones of the LAN are then told the outside address as the place for their voice, and calls are silent. Only a
// list that is empty is ours to begin; one that an admin has made stays.
func (w *work) localNetwork(ctx context.Context, lan netip.Prefix) error {
	if !lan.IsValid() {
		return nil
	}
	now, err := w.opts.System.NAT(ctx)
	if err != nil || len(now.Local) > 0 || now.External == "" {
		return err
	}
	w.rec.Reload, w.rec.Restart = true, w.opts.Now()
	if err := w.rec.save(w.opts.Record); err != nil {
		return err
	}
	fix := fmt.Errorf("freepbx: the LAN is no local network of the exchange, so that phones are told the address %q for their voice: add %v under %s", now.External, lan.Masked(), sipSettings)
	if err := w.opts.System.AddLocalNetwork(ctx, lan); err != nil {
		return fmt.Errorf("%w (%w)", fix, err)
	}
	if now, err = w.opts.System.NAT(ctx); err != nil {
		return err
	}
	if !slices.Contains(now.Local, lan.Masked()) {
		return fmt.Errorf("%w (FreePBX says that it has done it, and has %v)", fix, now.Local)
	}
	w.result.network = lan.Masked().String()
	return nil
}

// Inspect implements pbx.Inspector.
func (d *Driver) Inspect(ctx context.Context, want pbx.Desired) (out pbx.Inspection) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rec, err := loadState(d.opts.Record)
	if err == nil && !rec.Restart.IsZero() && d.opts.Started != nil {
		if started, err := d.opts.Started(ctx); err == nil && started.Before(rec.Restart) {
			out.RestartDue = "it does not know yet that the LAN is its local network, so that calls are silent"
		}
	}
	n, err := d.opts.System.NAT(ctx)
	if err != nil {
		return out // the next Apply says so
	}
	if what := n.trouble(want.LAN); what != "" {
		out.Problems = append(out.Problems, problems.Problem{
			ID: problems.FreePBXAddress, Severity: problems.Error, Part: "pbx", What: what,
			Fix: "put it right in FreePBX's web interface under " + sipSettings + ", then sae-agent pbx restart",
		})
	}
	return out
}

// trouble says what is wrong with the addresses; empty: nothing.
func (n NAT) trouble(lan netip.Prefix) string {
	if n.External == "" {
		return ""
	}
	if !isHost(n.External) {
		return fmt.Sprintf("the exchange's external address is %.60q, which is none: phones may be told it, and calls are silent then", n.External)
	}
	if lan.IsValid() && !slices.ContainsFunc(n.Local, func(p netip.Prefix) bool { return p.Bits() <= lan.Bits() && p.Contains(lan.Addr()) }) {
		return fmt.Sprintf("the LAN (%v) is no local network of the exchange: it tells phones %s as its own address, and calls are silent", lan.Masked(), n.External)
	}
	return ""
}

// isHost reports whether a text is an address or the name of a host.
func isHost(text string) bool {
	if addr, err := netip.ParseAddr(text); err == nil {
		return !addr.IsUnspecified()
	}
	bad := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.'
	}
	return strings.Contains(text, ".") && !strings.ContainsFunc(text, bad) && strings.ContainsFunc(text, func(r rune) bool { return r >= 'a' && r <= 'z' })
}
