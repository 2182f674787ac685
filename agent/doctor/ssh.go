package doctor

import (
	"slices"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/problem"
)

// checkSSH judges whether passwords can be guessed from the Internet.
func checkSSH(f Facts) []problem.Problem {
	if f.Config == nil || !f.PasswordLogin || f.Config.WAN.Method == config.WANNone || !f.sshReachable() {
		return nil
	}
	return []problem.Problem{doubtful(problem.SSHPassword, "",
		"once your key is in ~/.ssh/authorized_keys: echo 'PasswordAuthentication no\nKbdInteractiveAuthentication no' > /etc/ssh/sshd_config.d/10-keys.conf; systemctl reload ssh",
		"the SSH server is open to the WAN and lets people in by password: anybody on the Internet may guess")}
}

// sshReachable reports whether the SSH server can be reached from the WAN.
func (f Facts) sshReachable() bool {
	return slices.ContainsFunc(f.Listeners, func(l Listener) bool {
		if l.Program != "sshd" || l.Protocol != "tcp" || l.Addr.Addr().IsLoopback() || l.Addr.Addr() == f.Config.LAN.Address.Addr() {
			return false
		}
		return !f.Config.Firewall.Enabled || f.Config.WANOpen("ssh") || slices.ContainsFunc(f.Config.Firewall.WANAllow, func(s config.Service) bool {
			return s.Name == "" && s.Protocol == "tcp" && s.Ports.First <= l.Addr.Port() && l.Addr.Port() <= s.Ports.Last
		})
	})
}
