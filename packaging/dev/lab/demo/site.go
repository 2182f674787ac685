package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"text/template"
)

// maxPhones is what the larger of the two networks below has room for.
const maxPhones = 4000

// phone is one entry of phonesim's inventory.
type phone struct {
	MAC       string `json:"mac"`
	Model     string `json:"model"`
	Extension string `json:"extension"`
}

// site is what the demo's appliance is configured for.
type site struct {
	LAN         netip.Prefix // the appliance's address
	First, Last netip.Addr   // of the DHCP range
	Root        string       // the operator's own TFTP files
	Phones      []phone
}

// newSite plans a site with n phones, 1 to maxPhones.
func newSite(n int, root string) (site, error) {
	if n < 1 || n > maxPhones {
		return site{}, fmt.Errorf("between 1 and %d phones, not %d", maxPhones, n)
	}
	s := site{
		LAN:   netip.MustParsePrefix("192.168.1.1/24"),
		First: netip.MustParseAddr("192.168.1.10"),
		Last:  netip.MustParseAddr("192.168.1.249"),
		Root:  root,
	}
	firstExtension := 100
	if n > 12 { // 112 and others must stay emergency numbers
		firstExtension = 1000
	}
	if n > 240 {
		s.LAN = netip.MustParsePrefix("192.168.0.1/20")
		s.First = netip.MustParseAddr("192.168.0.10")
		s.Last = netip.MustParseAddr("192.168.15.249")
	}
	models := []string{"T42U", "T46S", "T48U", "T54W"}
	for i := range n {
		s.Phones = append(s.Phones, phone{
			MAC:       fmt.Sprintf("001565%06x", i+1),
			Model:     models[i%len(models)],
			Extension: fmt.Sprint(firstExtension + i),
		})
	}
	return s, nil
}

// metrics is where the appliance serves /metrics and /healthz.
func (s site) metrics() netip.AddrPort { return netip.AddrPortFrom(s.LAN.Addr(), 9303) }

// inventory renders the file that tells phonesim which phones to be, and which extension each must come up with.
func (s site) inventory() ([]byte, error) { return json.MarshalIndent(s.Phones, "", "  ") }

var configTemplate = template.Must(template.New("config").Funcs(template.FuncMap{
	"mac": func(s string) string {
		return fmt.Sprintf("%s:%s:%s:%s:%s:%s", s[0:2], s[2:4], s[4:6], s[6:8], s[8:10], s[10:12])
	},
}).Parse(`# The demo's site.
site:
  name: demo
  timezone: Europe/Paris
  language: French
wan:
  interface: ens33
  method: dhcp
lan:
  interface: ens34
  address: {{.LAN}}
dhcp:
  range: {{.First}}-{{.Last}}
provisioning:
  root: {{.Root}}
pbx:
  driver: asterisk
backup:
  window: off
console:
  allow: [198.51.100.0/24] # and so its loopback answers, too, to which the demo leads a browser
firewall:
  enabled: false
extensions:
{{- range .Phones}}
  - {number: "{{.Extension}}", name: Phone {{.Extension}}}
{{- end}}
phones:
{{- range .Phones}}
  - {mac: "{{mac .MAC}}", model: {{.Model}}, extension: "{{.Extension}}"}
{{- end}}
`))

// config renders the appliance's configuration file.
func (s site) config() ([]byte, error) {
	var b bytes.Buffer
	err := configTemplate.Execute(&b, s)
	return b.Bytes(), err
}
