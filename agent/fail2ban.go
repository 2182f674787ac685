package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/supervisor"
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

// fail2banFacts are what the jails depend on besides the configuration.
type fail2banFacts struct {
	logs       []string       // those that exist
	containers []netip.Prefix // their networks
}

// desiredFail2ban is what fail2ban should look at: nothing, when the bans would
// not be carried out.
func desiredFail2ban(c *config.Config, f fail2banFacts, stateDir string) fail2ban.Config {
	if !c.Firewall.Enabled {
		return fail2ban.Config{}
	}
	out := fail2ban.Config{Ignore: []netip.Prefix{c.LAN.Address.Masked()}}
	for _, s := range c.Firewall.Allow {
		if s.Host == "" { // a name's addresses are refused when they are to be banned
			out.Ignore = append(out.Ignore, s.Prefix)
		}
	}
	out.Ignore = append(out.Ignore, f.containers...)
	out.Jails = []fail2ban.Jail{jail("sshd", "sae-agent-sshd", "wrong SSH logins")}
	add := func(log string, jails ...fail2ban.Jail) bool {
		if !slices.Contains(f.logs, log) {
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

// fail2banFacts looks at what the jails depend on.
func (a *Agent) fail2banFacts() (f fail2banFacts) {
	for _, log := range []string{asteriskSecurity, asteriskFull, freepbxSecurity, a.state(nextcloudLog)} {
		if st, err := os.Stat(log); err == nil && st.Mode().IsRegular() {
			f.logs = append(f.logs, log)
		}
	}
	links, _ := net.Interfaces() // what cannot be seen is refused when it is to be banned
	for _, l := range links {
		if isContainerLink(l.Name) {
			f.containers = append(f.containers, networksOf(l)...)
		}
	}
	slices.SortFunc(f.containers, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return f
}

func networksOf(l net.Interface) (out []netip.Prefix) {
	addrs, _ := l.Addrs()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLinkLocalUnicast() {
			out = append(out, p.Masked())
		}
	}
	return out
}

// wantFail2ban brings the jails in line. The caller holds a.mu.
func (a *Agent) wantFail2ban(cfg *config.Config) {
	if a.opts.Runner == nil {
		return // nobody could talk to the server
	}
	a.units.fail2ban.want(a.parts, desiredFail2ban(cfg, a.fail2banFacts(), a.opts.StateDir))
}

func (a *Agent) buildFail2ban(_ context.Context, c fail2ban.Config) (supervisor.Part, error) {
	m, err := fail2ban.New(c, fail2ban.Options{
		Logger: a.log.With("part", "fail2ban"), Run: a.runFail2ban,
		Looked: func(took time.Duration, err error) { a.reconciled("fail2ban", took, err) },
	})
	if err != nil {
		return nil, err
	}
	return a.measure(func(ctx context.Context) error {
		a.fail2ban.Store(m)
		defer a.fail2ban.Store(nil)
		return m.Run(ctx)
	}, m), nil
}

func (a *Agent) changeFail2ban(c fail2ban.Config) bool {
	m := a.fail2ban.Load()
	return m != nil && m.Apply(c) == nil
}

// runFail2ban runs fail2ban-client outside of the daemon's sandbox, which was not
// made for a Python program that opens another daemon's socket.
func (a *Agent) runFail2ban(ctx context.Context, argv ...string) (string, error) {
	r, err := a.opts.Runner.Run(ctx, runner.Command{Name: "sae-agent-fail2ban", Argv: argv})
	if err != nil {
		return "", err
	}
	if r.Exit != 0 {
		return string(r.Stdout), fmt.Errorf("%s: exit status %d: %s", strings.Join(argv, " "), r.Exit, strings.TrimSpace(string(r.Stderr)))
	}
	return string(r.Stdout), nil
}

// liftInFail2ban takes back the bans of a sender, or everybody's when addr is the
// zero Addr. A sender with IPv6 is a /64, as for the firewall.
func (a *Agent) liftInFail2ban(ctx context.Context, addr netip.Addr) error {
	m := a.fail2ban.Load()
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

func (a *Agent) fail2banProblems() []problem.Problem {
	m := a.fail2ban.Load()
	if m == nil || m.Status().Problem == "" {
		return nil
	}
	return []problem.Problem{{
		Severity: problem.Warning, Part: "fail2ban", What: m.Status().Problem,
		Fix: "what the logs alone tell of attacks is not seen until then; fail2ban-client -t says more",
	}}
}
