package firewall

import (
	"testing"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/part/parttest"
	"github.com/sae-agent/sae-agent/firewall"
)

func TestDesiredMarks(t *testing.T) {
	dscp := func(c *config.Config) map[string]uint8 {
		out := make(map[string]uint8)
		for _, m := range marks(c) {
			out[m.Name+"/"+m.Protocol] = m.DSCP
		}
		return out
	}
	got := dscp(parttest.Config(t, "lan: {", "stacks: {jitsi: {enabled: true}, nextcloud: {enabled: true}}\nlan: {"))
	want := map[string]uint8{"SIP/udp": 24, "SIP/tcp": 24, "SIP over TLS/tcp": 24, "voice of the PBX/udp": 46, "Jitsi's video bridge/udp": 34, "voice of Jitsi's SIP gateway/udp": 46}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s: %d, want %d", name, got[name], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("marks: %v, want %v", got, want)
	}
	if none := dscp(parttest.Config(t, "lan: {", "pbx: {driver: none}\nlan: {")); len(none) != 0 {
		t.Errorf("without an exchange: %v", none)
	}
	if err := (firewall.Config{LAN: "ens34", Marks: marks(parttest.Config(t))}).Validate(); err != nil {
		t.Error(err)
	}
}

// The gateway into meetings talks SIP to us from a bridge of our stacks: it is in
// the zone of containers, and never banned.
func TestStacksAreContainers(t *testing.T) {
	for _, link := range []string{"docker0", "br-0123456789ab", "sae-jitsi", "sae-nextcloud", "sae-nextcl-db"} {
		if !isContainerLink(link) {
			t.Errorf("%s is no link of containers", link)
		}
	}
	for _, link := range []string{"ens33", "ens34", "lo", "wg0"} {
		if isContainerLink(link) {
			t.Errorf("%s is a link of containers", link)
		}
	}
}
