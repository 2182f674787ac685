package firewall

import (
	"fmt"
	"slices"
	"strings"
)

// PlanOpenings lists for people what would change of who may reach what: a line for
// each way that closes (-) or opens (+). Plan has the rules themselves.
func PlanOpenings(from, to Config) []string {
	return difference("", from.openings(), to.openings())
}

// Where a way begins and ends, in people's words.
const (
	theInternet  = "the Internet"
	theLAN       = "the LAN"
	theAppliance = "the appliance"
	containers   = "containers"
	everybody    = "everybody"
	everything   = "everything"
)

// openings are the ways that are open, as "from, to, what".
func (c Config) openings() []string {
	if c.Disabled {
		return []string{way(everybody, everything, "everything, the firewall is off")}
	}
	var out []string
	if c.WAN != "" {
		out = append(out, way(theLAN, theInternet, "everything, by "+c.WAN))
	}
	for _, l := range c.Trusted {
		out = append(out, way(l, everything, "everything"))
	}
	for _, s := range c.Services {
		for _, sender := range c.senders(s) {
			out = append(out, way(sender, theAppliance, s.words()))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func way(from, to, what string) string { return from + " to " + to + ": " + what }

// senders are those who may reach a service.
func (c Config) senders(s Service) []string {
	var out []string
	if s.LAN {
		out = append(out, theLAN)
	}
	if s.Containers && len(c.Containers) > 0 {
		out = append(out, containers)
	}
	if s.LANOnly {
		return out
	}
	if s.WAN {
		out = append(out, theInternet)
	}
	if s.Allowed && !s.WAN { // who may come in from everywhere needs no list
		for _, p := range c.Allow {
			out = append(out, p.String())
		}
		out = append(out, c.AllowNames...)
	}
	if s.From.IsValid() {
		out = append(out, s.From.String())
	}
	return out
}

// words are a service's name and its ports.
func (s Service) words() string {
	ports := fmt.Sprint(s.First)
	if s.Last != s.First {
		ports = fmt.Sprintf("%d-%d", s.First, s.Last)
	}
	ports += "/" + s.Protocol
	if strings.Contains(s.Name, ports) { // a port that the operator named
		return ports
	}
	return s.Name + ", " + ports
}
