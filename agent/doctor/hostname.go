package doctor

import (
	"slices"
	"strings"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/problem"
)

// checkHostname judges whether the machine knows its own name by itself. Asterisk looks for it at the begin of each
// call: where only DNS could tell, and does not answer, every call waits for 20 seconds.
func checkHostname(f Facts) []problem.Problem {
	if f.Config == nil || f.Config.PBX.Driver == config.DriverNone || f.Hostname == "" {
		return nil
	}
	for line := range strings.SplitSeq(f.Hosts, "\n") {
		line, _, _ = strings.Cut(line, "#")
		if names := strings.Fields(line); len(names) > 1 && slices.Contains(names[1:], f.Hostname) {
			return nil
		}
	}
	return []problem.Problem{doubtful(problem.HostnameUnknown, "", "add to /etc/hosts the line: 127.0.1.1 "+f.Hostname,
		"%s, this machine's own name, is not in /etc/hosts: calls wait for DNS to tell it, 20 seconds each when that does not answer", f.Hostname)}
}
