package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/history"
	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/netcfg"
)

// Status answers control.GetStatus. It waits neither for an apply nor for a part:
// what it asks of a part, the part MUST answer from memory.
func (a *Agent) Status(context.Context) (control.Status, error) {
	current, parts := *a.current.Load(), a.parts.Status()
	st := control.Status{
		Version: a.opts.Version, Site: current.cfg.Site.Name, Started: a.started, Parts: parts,
		Config: a.configStatus(current), Phones: make(map[string]int),
	}
	all := a.phoneList()
	for _, p := range all {
		st.Phones[string(p.State)]++
	}
	if n := a.net.Load(); n != nil {
		st.Network = networkLinks(n.Status())
	}
	st.DHCP, st.QoS, st.Services = a.dhcpStatus(), a.qosStatus(), a.serviceStatus()
	st.PBX, st.Stacks = a.pbxStatus(), a.stackStatus()
	st.Problems = slices.Concat(
		partProblems(parts), configProblems(st.Config), networkProblems(st.Network), dhcpProblems(current.cfg.DHCP.Enabled, st.DHCP),
		a.leaseProblems(),
		qosProblems(st.QoS),
		serviceProblems(current.cfg.PBX.Driver, st.Services),
		freePBXProblems(a.freePBX.Load(), current.cfg),
		backupProblems(a.backups.Load()),
		a.fail2banProblems(),
		a.refusedPhones(),
		pbxProblems(st.PBX),
		stackProblems(st.Stacks, a.stacks.History(), time.Now()),
		phoneProblems(all),
		troubleProblems(all),
		a.firewallProblems(current.cfg),
		leftoverProblems(a.folder.Leftovers(current.cfg.Provisioning.Root)),
	)
	slices.SortStableFunc(st.Problems, func(a, b problem.Problem) int { return cmp.Compare(a.Severity, b.Severity) })
	return st, nil
}

// health returns what does not work, for /healthz.
func (a *Agent) health() []string {
	st, err := a.Status(context.Background())
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, p := range st.Problems {
		if p.Severity == problem.Error {
			out = append(out, p.Part+": "+p.What)
		}
	}
	return out
}

// configStatus compares the operator's file with what runs.
func (a *Agent) configStatus(current applied) control.ConfigStatus {
	st := control.ConfigStatus{
		Path: a.opts.ConfigPath, Applied: history.Hash(current.data), AppliedAt: current.entry.AppliedAt, Number: current.entry.Seq,
	}
	if p, err := a.history.Pending(); err == nil && p != nil {
		st.Until = p.Deadline
	}
	data, err := config.ReadFile(a.opts.ConfigPath)
	if err == nil && history.Hash(data) == st.Applied {
		return st
	}
	st.NotApplied = true
	if _, err := a.readFile(); err != nil {
		st.FileError = err.Error()
		var told *control.Error
		if errors.As(err, &told) && len(told.Details) > 0 {
			st.FileError = fmt.Sprintf("%s (and %d more)", told.Details[0], len(told.Details)-1)
		}
	}
	return st
}

func networkLinks(st netcfg.Status) []control.NetworkLink {
	var out []control.NetworkLink
	for _, l := range []struct {
		role string
		netcfg.LinkStatus
	}{{"wan", st.WAN}, {"lan", st.LAN}} {
		if l.Method == netcfg.MethodNone {
			continue
		}
		n := control.NetworkLink{
			Role: l.role, Name: l.Name, Method: string(l.Method), Up: l.Up && l.Carrier, Repairs: l.Repairs, Error: l.Problem,
		}
		for _, p := range l.Addresses {
			n.Addresses = append(n.Addresses, p.String())
		}
		if l.Gateway.IsValid() {
			n.Gateway = l.Gateway.String()
		}
		if l.role == "wan" {
			for _, r := range st.Resolvers {
				n.DNS = append(n.DNS, r.String())
			}
		}
		out = append(out, n)
	}
	return out
}

// SearchDHCPServers answers control.SearchDHCPServers.
func (a *Agent) SearchDHCPServers(ctx context.Context) (control.DHCPStatus, error) {
	if s := a.dhcp.Load(); s != nil {
		if _, err := s.Search(ctx); err != nil {
			return control.DHCPStatus{}, err
		}
	}
	return a.dhcpStatus(), nil
}

func (a *Agent) dhcpStatus() control.DHCPStatus {
	s := a.dhcp.Load()
	if s == nil {
		return control.DHCPStatus{Reason: "it is not running"}
	}
	st := s.Status()
	out := control.DHCPStatus{Serving: st.Serving, Reason: st.Reason, PoolSize: st.PoolSize, PoolUsed: st.PoolUsed}
	for _, r := range st.Rivals {
		out.Rivals = append(out.Rivals, r.String())
	}
	for _, f := range st.Foreign {
		out.Foreign = append(out.Foreign, fmt.Sprintf("%v (chosen by %v)", f.ServerID, f.Client))
	}
	for _, r := range st.Strays {
		out.Relays = append(out.Relays, fmt.Sprintf("%v (%v)", r.Addr, r.MAC))
	}
	return out
}

// leaseProblems tells that leases cannot be stored.
func (a *Agent) leaseProblems() []problem.Problem {
	db := a.leases.Load()
	if db == nil || db.Failing() == nil {
		return nil
	}
	f := db.Failing()
	return []problem.Problem{{
		Severity: problem.Error, Part: "dhcp", What: fmt.Sprintf("leases cannot be stored since %s, so none are given: %v", f.Since.Local().Format(time.TimeOnly), f.Err),
		Fix: "df -h " + a.opts.StateDir + " shows how full the disk is; leases are given again once there is room",
	}}
}

func partProblems(parts []control.PartStatus) (out []problem.Problem) {
	for _, p := range parts {
		if p.State == control.PartWaiting {
			out = append(out, problem.Problem{
				Severity: problem.Error, Part: p.Name, What: p.LastError, Fix: "it is started again by itself once the cause is gone",
			})
		}
	}
	return out
}

func configProblems(c control.ConfigStatus) (out []problem.Problem) {
	if !c.Until.IsZero() {
		out = append(out, problem.Problem{
			Severity: problem.Warning, Part: "config",
			What: fmt.Sprintf("configuration %d waits for its confirmation, and is undone at %s", c.Number, c.Until.Local().Format(time.TimeOnly)),
			Fix:  "sae-agent confirm keeps it, sae-agent rollback undoes it now",
		})
	}
	p := problem.Problem{Severity: problem.Warning, Part: "config", What: c.Path + " differs from what runs", Fix: "sae-agent plan shows the difference, sae-agent apply runs it"}
	switch {
	case !c.NotApplied:
		return out
	case c.FileError != "":
		p.What, p.Fix = "the file could not be applied: "+c.FileError, "sae-agent check shows all that is wrong with it"
	}
	return append(out, p)
}

func networkProblems(links []control.NetworkLink) (out []problem.Problem) {
	for _, l := range links {
		if l.Error != "" {
			severity := problem.Error
			if l.Role == "wan" { // phones work without the Internet
				severity = problem.Warning
			}
			out = append(out, problem.Problem{Severity: severity, Part: "network", What: l.Name + ": " + l.Error,
				Fix: "sae-agent doctor says more, sae-agent takeover has other managers leave the card alone"})
		}
	}
	return out
}

func dhcpProblems(enabled bool, d control.DHCPStatus) (out []problem.Problem) {
	if !enabled {
		out = append(out, problem.Problem{
			Severity: problem.Warning, Part: "dhcp", What: "phones get no address from here: dhcp.enabled is false",
			Fix: "have the LAN's DHCP server send option 66; or, when the card is for the phones alone, set dhcp.enabled: true",
		})
	}
	if enabled && !d.Serving {
		p := problem.Problem{Severity: problem.Error, Part: "dhcp", What: "gives no addresses: " + d.Reason}
		if len(d.Rivals) > 0 {
			p.Fix = "stop that server, or set dhcp.enabled: false and have it send option 66"
		}
		out = append(out, p)
	}
	if d.Serving && len(d.Rivals) > 0 {
		out = append(out, problem.Problem{
			Severity: problem.Error, Part: "dhcp", What: "another DHCP server has come to the LAN and answers beside ours: " + strings.Join(d.Rivals, ", "),
			Fix: "find its MAC in the switch's table and unplug it; or name it in dhcp.peers if it is meant to be there",
		})
	}
	if len(d.Foreign) > 0 {
		out = append(out, problem.Problem{
			Severity: problem.Warning, Part: "dhcp", What: "clients chose a DHCP server that does not answer our search: " + strings.Join(d.Foreign, ", "),
			Fix: "look for it on the LAN: it answers some clients only, or somebody forges their messages",
		})
	}
	if enabled && len(d.Relays) > 0 {
		out = append(out, problem.Problem{
			Severity: problem.Warning, Part: "dhcp", What: "clients of a DHCP relay that is not configured get no address: " + strings.Join(d.Relays, ", "),
			Fix: "if the relay is yours, add it to dhcp.relays",
		})
	}
	if d.PoolSize > 0 && d.PoolUsed*10 >= d.PoolSize*9 {
		out = append(out, problem.Problem{
			Severity: problem.Warning, Part: "dhcp", What: fmt.Sprintf("%d of %d addresses are used", d.PoolUsed, d.PoolSize),
			Fix: "enlarge dhcp.range",
		})
	}
	return out
}

func phoneProblems(all []phoneView) (out []problem.Problem) {
	pending, lines := 0, 0
	for _, p := range all {
		if p.Extension != "" {
			lines++
		}
		if p.Alert != "" {
			out = append(out, problem.Problem{
				Severity: problem.Warning, Part: "phones", What: p.MAC.String() + ": " + p.Alert,
				Fix: "look where the phone is; sae-agent phones rearm " + p.MAC.String() + " ends this alert",
			})
		}
		if p.State == phones.StatePending {
			pending++
		}
	}
	if lines == 0 {
		out = append(out, problem.Problem{
			Severity: problem.Warning, Part: "phones", What: "no phone has a line yet",
			Fix: "name extensions and phones in the configuration file, then sae-agent apply",
		})
	}
	if pending > 0 {
		out = append(out, problem.Problem{
			Severity: problem.Warning, Part: "phones", What: fmt.Sprintf("%d unknown phones wait for approval", pending),
			Fix: "sae-agent phones lists them, sae-agent phones approve MAC --extension NUMBER gives one a line",
		})
	}
	return out
}

func leftoverProblems(files []string) []problem.Problem {
	if len(files) == 0 {
		return nil
	}
	return []problem.Problem{{
		Severity: problem.Warning, Part: "files",
		What: fmt.Sprintf("%s and %d more files with a phone's name or a password lie in the TFTP directory; they are never served, but may be read on this machine", files[0], len(files)-1),
		Fix:  "sae-agent import reads them into a configuration; then remove them",
	}}
}
