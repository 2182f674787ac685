// Package doctor finds what is wrong with a machine and says how to mend it.
//
// Looking at the machine (Look) is apart from judging what was seen: a check is a
// small pure function. It changes nothing.
package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/netcfg"
)

// Facts are what the checks judge.
type Facts struct {
	ConfigPath string
	Config     *config.Config  // nil when there is none that is valid
	ConfigErr  error           // why not
	Daemon     *control.Status // nil when none answers
	DaemonErr  error           // why not
	Rivals     []string        // other DHCP servers that answer, where no daemon does
	Listeners  []Listener
	Cards      map[string]Card // those of the configuration, by name
	// PasswordLogin says that the SSH server lets somebody in by a password.
	PasswordLogin bool
	Machine
}

// Machine is what the checks know of the machine itself.
type Machine struct {
	Clock    Clock
	DiskFree uint64 // bytes, where the state is kept
	Memory   uint64 // bytes available to new programs
	Hostname string // of this machine
	Hosts    string // its /etc/hosts
}

// Listener is a socket that waits for packets or connections.
type Listener struct {
	Protocol string // tcp or udp
	Addr     netip.AddrPort
	Program  string // empty when it cannot be told
	PID      int
	Unit     string // of systemd, such as tftpd-hpa.service; empty: none
}

// Card is a network card.
type Card struct {
	Exists  bool
	Up      bool // administratively
	Carrier bool // a cable, with somebody at its other end
	Owners  []netcfg.Owner
}

// Clock is the machine's clock.
type Clock struct {
	Now          time.Time
	Asked        bool // the kernel could be asked: not where ProtectClock= forbids it
	Synchronised bool // by a time server, says the kernel
}

// Check judges one thing.
type Check struct {
	Name  string
	Judge func(Facts) []problem.Problem
}

// Checks returns all checks, in the order in which to mend what they find.
func Checks() []Check {
	return append([]Check{
		{"config", checkConfig}, {"daemon", checkDaemon}, {"cards", checkCards}, {"owners", checkOwners},
		{"dhcp-port", checkDHCPPort}, {"tftp-port", checkTFTPPort}, {"rivals", checkRivals}, {"ports", checkPorts}, {"ssh", checkSSH},
	}, MachineChecks()...)
}

// MachineChecks returns those that the daemon makes by itself, since no other part of it sees what they judge.
func MachineChecks() []Check {
	return []Check{{"clock", checkClock}, {"disk", checkDisk}, {"memory", checkMemory}, {"hostname", checkHostname}}
}

// Judge runs checks. Problems carry the name of their check as Part.
func Judge(f Facts, checks []Check) (out []problem.Problem) {
	for _, c := range checks {
		for _, p := range c.Judge(f) {
			p.Part = c.Name
			out = append(out, p)
		}
	}
	return out
}

// Examine runs all checks, and returns with what they find what the daemon knows itself: each problem once.
func Examine(f Facts) []problem.Problem {
	out := []problem.Problem{}
	if f.Daemon != nil {
		out = append(out, f.Daemon.Problems...)
	}
	for _, p := range Judge(f, Checks()) {
		if !slices.ContainsFunc(out, func(o problem.Problem) bool { return o.ID == p.ID && o.Subject == p.Subject }) {
			out = append(out, p)
		}
	}
	problem.Sort(out)
	return out
}

func wrong(id problem.ID, subject, fix, format string, args ...any) problem.Problem {
	return problem.Problem{ID: id, Subject: subject, Severity: problem.Error, What: fmt.Sprintf(format, args...), Fix: fix}
}

func doubtful(id problem.ID, subject, fix, format string, args ...any) problem.Problem {
	return problem.Problem{ID: id, Subject: subject, Severity: problem.Warning, What: fmt.Sprintf(format, args...), Fix: fix}
}

func checkConfig(f Facts) []problem.Problem {
	if f.ConfigErr == nil {
		return nil
	}
	return []problem.Problem{wrong(problem.ConfigInvalid, "", "sae-agent check says all that is wrong with it, sae-agent init writes one where there is none", "%s: %v", f.ConfigPath, f.ConfigErr)}
}

func checkDaemon(f Facts) []problem.Problem {
	if f.Daemon != nil {
		return nil
	}
	return []problem.Problem{wrong(problem.DaemonDown, "", "systemctl start sae-agent; journalctl -u sae-agent says why it ended", "the daemon does not answer: %v", f.DaemonErr)}
}

// roles returns the cards of the configuration by role, in a fixed order.
func (f Facts) roles() (out []struct{ role, name string }) {
	if f.Config == nil {
		return nil
	}
	if f.Config.WAN.Method != config.WANNone {
		out = append(out, struct{ role, name string }{"wan", f.Config.WAN.Interface})
	}
	return append(out, struct{ role, name string }{"lan", f.Config.LAN.Interface})
}

func checkCards(f Facts) (out []problem.Problem) {
	for _, r := range f.roles() {
		c := f.Cards[r.name]
		switch {
		case !c.Exists:
			out = append(out, wrong(problem.LinkTrouble, r.name, problem.FixNoCard(r.role), "there is no card %s", r.name))
		case !c.Up:
			out = append(out, wrong(problem.LinkTrouble, r.name, switchOn(r.name, c.Owners), "%s is switched off", r.name))
		case !c.Carrier:
			out = append(out, wrong(problem.LinkTrouble, r.name, problem.FixNoLink(r.name), "%s has no link", r.name))
		}
	}
	return out
}

// switchOn is how to switch a card on, with the routes that its manager has lost with it.
func switchOn(card string, owners []netcfg.Owner) string {
	if slices.ContainsFunc(owners, func(o netcfg.Owner) bool { return o.Manager == "ifupdown" }) {
		return "ifup --force " + card
	}
	return "ip link set " + card + " up"
}

func checkOwners(f Facts) (out []problem.Problem) {
	for _, r := range f.roles() {
		if r.role == "wan" && f.Config.WAN.Method == config.WANExternal {
			continue
		}
		for _, o := range f.Cards[r.name].Owners {
			p := problem.ManagedCard(r.name, o.Manager, o.Evidence, o.Advice)
			p.Severity = problem.Error
			out = append(out, p)
		}
	}
	return out
}

// ours is the name of our own program.
const ours = "sae-agent"

// strangers returns who else waits on a port, each program once.
func (f Facts) strangers(protocol string, r config.PortRange, allowed ...string) (out []Listener) {
	for _, l := range f.Listeners {
		p := l.Addr.Port()
		if l.Protocol != protocol || p < r.First || p > r.Last || l.Program == ours || slices.Contains(allowed, l.Program) {
			continue
		}
		if !slices.ContainsFunc(out, func(o Listener) bool { return o.Program == l.Program && o.Addr.Port() == p }) {
			out = append(out, l)
		}
	}
	return out
}

// who names a program for people.
func (l Listener) who() string {
	switch {
	case l.Program == "":
		return "another program"
	case l.Unit != "":
		return l.Program + " (" + l.Unit + ")"
	}
	return fmt.Sprintf("%s (process %d)", l.Program, l.PID)
}

// stop says how to stop a program.
func (l Listener) stop() string {
	if l.Unit != "" {
		// Not disable --now, which disables an init script and does not stop it.
		return "systemctl stop " + l.Unit + "; systemctl disable " + l.Unit
	}
	return "stop it, and what starts it"
}

func checkDHCPPort(f Facts) (out []problem.Problem) {
	if f.Config != nil && !f.Config.DHCP.Enabled {
		return nil
	}
	for _, l := range f.strangers("udp", config.PortRange{First: 67, Last: 67}) {
		out = append(out, wrong(problem.PortTaken, "udp 67", "sae-agent takeover stops it; or: "+l.stop(), "%s answers DHCP on this machine (UDP port 67)", l.who()))
	}
	return out
}

func checkTFTPPort(f Facts) (out []problem.Problem) {
	for _, l := range f.strangers("udp", config.PortRange{First: 69, Last: 69}) {
		out = append(out, wrong(problem.PortTaken, "udp 69", "sae-agent takeover stops it; or: "+l.stop(), "%s answers TFTP on this machine (UDP port 69)", l.who()))
	}
	return out
}

// allowedOn are the programs that may hold a planned port, besides our own.
var allowedOn = map[config.PortUse][]string{
	config.UseSIP: {"asterisk"}, config.UseRTP: {"asterisk"},
	config.UseJitsi: {"docker-proxy"}, config.UseJitsiMedia: {"docker-proxy"}, config.UseJitsiGateway: {"docker-proxy"},
	config.UseNextcloud: {"docker-proxy"}, config.UseHTTP: nil, config.UseMetrics: nil,
}

func checkPorts(f Facts) (out []problem.Problem) {
	if f.Config == nil {
		return nil
	}
	seen := make(map[netip.AddrPort]bool)
	for _, p := range f.Config.PortPlan() {
		allowed, ok := allowedOn[p.Use]
		if !ok {
			continue // the system's own, or judged by another check
		}
		for _, l := range f.strangers(p.Protocol, p.PortRange, allowed...) {
			if !seen[l.Addr] {
				seen[l.Addr] = true
				out = append(out, wrong(problem.PortTaken, fmt.Sprintf("%s %d", l.Protocol, l.Addr.Port()), "move that program, or change the port in the file", "%s holds %s port %d, which is for %s", l.who(), p.Protocol, l.Addr.Port(), p.Use))
			}
		}
	}
	return out
}

// oldest is a day that has certainly passed.
var oldest = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func checkClock(f Facts) []problem.Problem {
	switch {
	case f.Clock.Now.Before(oldest):
		return []problem.Problem{wrong(problem.ClockWrong, "", "timedatectl set-time 'YYYY-MM-DD HH:MM', and replace the battery of the clock",
			"the clock says %s, which cannot be", f.Clock.Now.Format(time.DateOnly))}
	case f.Clock.Asked && !f.Clock.Synchronised:
		return []problem.Problem{doubtful(problem.ClockAlone, "", "install chrony, and see that it reaches its servers: chronyc sources",
			"the clock is not kept by a time server; phones show this machine's time")}
	}
	return nil
}

const (
	mib          = 1 << 20
	diskNeeded   = 256 * mib
	diskWanted   = 1024 * mib
	memoryWanted = 128 * mib
)

func checkDisk(f Facts) []problem.Problem {
	const fix = "apt-get clean and journalctl --vacuum-size=100M make room at once"
	switch {
	case f.DiskFree < diskNeeded:
		return []problem.Problem{wrong(problem.DiskFull, "", fix, "only %d MiB are free on the disk: leases could not be recorded any more", f.DiskFree/mib)}
	case f.DiskFree < diskWanted:
		return []problem.Problem{doubtful(problem.DiskFull, "", fix, "only %d MiB are free on the disk", f.DiskFree/mib)}
	}
	return nil
}

func checkMemory(f Facts) []problem.Problem {
	if f.Memory >= memoryWanted {
		return nil
	}
	return []problem.Problem{doubtful(problem.MemoryShort, "", "stop what is not needed, or give the machine more", "only %d MiB of memory are left", f.Memory/mib)}
}
