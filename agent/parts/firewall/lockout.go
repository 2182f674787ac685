package firewall

import (
	"fmt"

	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/firewall"
)

// locksOut says why a session could not be opened again under next, when it can be under
// now. The open one lives on either way.
func locksOut(now, next firewall.Config, s part.Session) []string {
	if !opens(now, s) || opens(next, s) {
		return nil
	}
	if zoneOf(next, s) != firewall.ZoneWAN {
		return []string{fmt.Sprintf("the firewall closes port %d to it", s.Local.Port())}
	}
	return []string{fmt.Sprintf("the firewall closes port %d to the WAN; to keep it open write firewall.wan_allow: [ssh]", s.Local.Port())}
}

func opens(c firewall.Config, s part.Session) bool {
	return c.Disabled || firewall.Decide(c, firewall.Packet{
		Zone: zoneOf(c, s), From: s.Peer, To: firewall.ZoneLocal, Protocol: "tcp", Port: s.Local.Port(),
	}).Accept
}

// zoneOf is where a session comes from, by the card that leads to its peer. A card that
// is named nowhere is treated like the WAN.
func zoneOf(c firewall.Config, s part.Session) firewall.Zone {
	switch {
	case s.Link == "":
		return c.ZoneOf(s.Peer)
	case s.Link == c.LAN:
		return firewall.ZoneLAN
	case matches(c.Trusted, s.Link):
		return firewall.ZoneTrusted
	case matches(c.Containers, s.Link):
		return firewall.ZoneContainers
	}
	return firewall.ZoneWAN
}
