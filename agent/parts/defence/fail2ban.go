package defence

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/firewall/fail2ban"
)

// Logs that tell of attacks.
const (
	asteriskSecurity = "/var/log/asterisk/security.log"         // security events alone
	asteriskFull     = "/var/log/asterisk/full"                 // FreePBX's own, which has none
	freepbxSecurity  = "/var/log/asterisk/freepbx_security.log" // logins at its pages
)

// nextcloudLog is where Nextcloud writes, below the state folder.
const nextcloudLog = "stacks/nextcloud/data/nextcloud.log"

// Facts are what the jails depend on besides the configuration.
type Facts struct {
	Logs       []string       // those that exist
	Containers []netip.Prefix // their networks
}

// Jails is what fail2ban should look at: nothing, when the bans would
// not be carried out.
func Jails(c *config.Config, f Facts, stateDir string) fail2ban.Config {
	if !c.Firewall.Enabled {
		return fail2ban.Config{}
	}
	out := fail2ban.Config{Ignore: []netip.Prefix{c.LAN.Address.Masked()}}
	for _, s := range c.Firewall.Allow {
		if s.Host == "" { // a name's addresses are refused when they are to be banned
			out.Ignore = append(out.Ignore, s.Prefix)
		}
	}
	out.Ignore = append(out.Ignore, f.Containers...)
	out.Jails = []fail2ban.Jail{jail("sshd", "sae-agent-sshd", "wrong SSH logins")}
	add := func(log string, jails ...fail2ban.Jail) bool {
		if !slices.Contains(f.Logs, log) {
			return false
		}
		for _, j := range jails {
			j.Logs = []string{log}
			out.Jails = append(out.Jails, j)
		}
		return true
	}
	if c.PBX.Driver != config.DriverNone {
		_ = add(asteriskSecurity, asteriskJails("auth", "scan")...) || add(asteriskFull, asteriskJails("notice", "notice-scan")...)
	}
	if c.PBX.Driver == config.DriverFreePBX {
		add(freepbxSecurity, jail("sae-freepbx", "sae-agent-freepbx", "wrong logins at FreePBX"))
	}
	if c.Stacks.Nextcloud.Enabled {
		add(filepath.Join(stateDir, nextcloudLog), jail("sae-nextcloud", "sae-agent-nextcloud", "wrong logins at Nextcloud"))
	}
	return out
}

// jail bans who fails five times in ten minutes, the longer the more often.
func jail(name, filter, reason string) fail2ban.Jail {
	return fail2ban.Jail{
		Name: name, Filter: filter, Reason: reason, Retries: loginLimit.Attempts, Window: loginLimit.Within, Ban: 10 * time.Minute, LongestBan: 7 * 24 * time.Hour,
	}
}

// asteriskJails are those of the two modes of our filter. Who is only challenged
// may be made up, and is banned for a short time.
func asteriskJails(login, scan string) []fail2ban.Jail {
	l := jail("sae-asterisk", "sae-agent-asterisk[mode="+login+"]", "wrong SIP passwords")
	s := jail("sae-asterisk-scan", "sae-agent-asterisk[mode="+scan+"]", "looking for SIP extensions")
	s.Retries, s.Window = scanLimit.Attempts, scanLimit.Within
	l.LongestBan, s.LongestBan = l.Ban, s.Ban
	return []fail2ban.Jail{l, s}
}

// facts looks at what the jails depend on.
func (p *Part) facts() Facts {
	f := Facts{Containers: p.deps.ContainerNets()}
	for _, log := range []string{asteriskSecurity, asteriskFull, freepbxSecurity, p.host.Paths().InState(nextcloudLog)} {
		if st, err := os.Stat(log); err == nil && st.Mode().IsRegular() {
			f.Logs = append(f.Logs, log)
		}
	}
	return f
}

func (p *Part) desiredJails(_ context.Context, in part.Input) (fail2ban.Config, bool, error) {
	if p.host.Runner() == nil {
		return fail2ban.Config{}, false, nil // nobody could talk to the server
	}
	return Jails(in.Config, p.facts(), p.host.Paths().State), true, nil
}

func (p *Part) buildJails(_ context.Context, c fail2ban.Config) (part.Run[fail2ban.Config], error) {
	m, err := fail2ban.New(c, fail2ban.Options{
		Logger: p.host.Logger(jailsName), Run: RunFail2ban(p.host.Runner()),
		OnReconcile: func(took time.Duration, err error) { p.host.Reconciled(jailsName, took, err) },
	})
	if err != nil {
		return part.Run[fail2ban.Config]{}, err
	}
	return part.Run[fail2ban.Config]{
		Run: func(ctx context.Context) error {
			p.jails.Store(m)
			defer p.jails.Store(nil)
			return m.Run(ctx)
		},
		Apply:      func(_ context.Context, c fail2ban.Config) error { return m.Apply(c) },
		Collectors: []prometheus.Collector{m},
	}, nil
}

// RunFail2ban returns how to run fail2ban-client. The daemon does outside of its sandbox, which was not made for a
// Python program that opens another daemon's socket.
func RunFail2ban(on part.Runner) fail2ban.RunFunc {
	return func(ctx context.Context, argv ...string) (string, error) {
		r, err := on.Run(ctx, runner.Command{Name: "sae-agent-fail2ban", Argv: argv})
		if err != nil {
			return "", err
		}
		if r.Exit != 0 {
			return string(r.Stdout), fmt.Errorf("%s: exit status %d: %s", strings.Join(argv, " "), r.Exit, strings.TrimSpace(string(r.Stderr)))
		}
		return string(r.Stdout), nil
	}
}

// Lift takes back the bans of a sender, or everybody's when addr is the
// zero Addr. A sender with IPv6 is a /64, as for the firewall.
func (p *Part) Lift(ctx context.Context, addr netip.Addr) error {
	m := p.jails.Load()
	switch {
	case m == nil:
		return nil
	case !addr.IsValid():
		return m.UnbanAll(ctx)
	case addr.Is4():
		return m.Unban(ctx, netip.PrefixFrom(addr, 32))
	}
	return m.Unban(ctx, netip.PrefixFrom(addr, 64).Masked())
}

func (p *Part) jailProblems() []problem.Problem {
	m := p.jails.Load()
	if m == nil {
		return nil
	}
	st := m.Status()
	if st.Problem == "" {
		return nil
	}
	return []problem.Problem{{
		ID: problem.JailsTrouble, Severity: problem.Warning, Part: jailsName, What: st.Problem,
		Fix: cmp.Or(st.Fix, "what the logs alone tell of attacks is not seen until then; fail2ban-client -t says more"),
	}}
}
