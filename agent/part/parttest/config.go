package parttest

import (
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/config"
)

// site is a configuration with something in every section.
const site = `
site: {name: sae303, timezone: Europe/Paris, language: French}
wan: {interface: ens33}
lan: {interface: ens34, address: 192.168.1.1/24}
dhcp:
  range: 192.168.1.10-192.168.1.100
  voice_vlan: 20
  reservations: [{mac: "02:00:00:00:00:07", ip: 192.168.1.7, hostname: printer}]
  options:
    - {code: 150, ip: [192.168.1.1]}
    - {code: 43, class: Yealink, text: x}
    - {code: 43, class: "yealink T42U", text: special}
    - {code: 66, class: Cisco, text: "192.168.1.9"}
extensions: [{number: "100", name: Alice}, {number: "101", secret: "correct-horse-battery"}]
phones: [{mac: "00:15:65:00:00:01", model: T42U, extension: "100"}]
`

// Config returns a configuration, with the first text of each pair of edit replaced
// by the second.
func Config(t testing.TB, edit ...string) *config.Config {
	t.Helper()
	c, err := config.Parse("site", []byte(strings.NewReplacer(edit...).Replace(site)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
