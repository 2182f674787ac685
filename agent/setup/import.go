package setup

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/setup/dhcpdconf"
)

// Sources are the files of a machine that was set up by hand; an empty name leaves one out. Of the servers' files one is read.
type Sources struct {
	DHCPD   string // dhcpd.conf of isc-dhcp-server
	Dnsmasq string // dnsmasq.conf
	Kea     string // kea-dhcp4.conf
	TFTP    string // a directory of Yealink files
	// Own are the addresses of the LAN's card: they decide which network is the LAN.
	Own []netip.Prefix
	// Lookup finds the addresses of names; nil: names are not looked up.
	Lookup func(name string) []netip.Addr
}

// Units of the DHCP servers whose files are read.
const (
	iscUnit     = "isc-dhcp-server.service"
	dnsmasqUnit = "dnsmasq.service"
	keaUnit     = "kea-dhcp4-server.service"
)

// ServerUnits are those units.
func ServerUnits() []string { return []string{iscUnit, dnsmasqUnit, keaUnit} }

// servers are the files of DHCP servers, by unit.
func (s *Sources) servers() map[string]*string {
	return map[string]*string{iscUnit: &s.DHCPD, dnsmasqUnit: &s.Dnsmasq, keaUnit: &s.Kea}
}

// Servers counts the servers whose files are there.
func (s *Sources) Servers() (n int) {
	for _, file := range s.servers() {
		if *file != "" {
			n++
		}
	}
	return n
}

// OnlyRunning leaves out the files of servers that do not run, if one does: packages bring examples.
func (s *Sources) OnlyRunning(units map[string]runner.UnitState) {
	only := *s
	for unit, file := range only.servers() {
		if !units[unit].Active {
			*file = ""
		}
	}
	if only.Servers() > 0 {
		*s = only
	}
}

// Import makes a configuration out of these files, on top of what Draft made of the machine. The notes say what is not
// taken over, each with its file and line.
func Import(c *config.Config, src Sources) (notes []string, err error) {
	if src.DHCPD != "" {
		list, err := dhcpdconf.Parse(src.DHCPD, os.ReadFile)
		if err != nil {
			return nil, fmt.Errorf("setup: %w", err)
		}
		notes = importDHCPD(c, list, src)
	}
	for name, read := range map[string]func([]byte, Sources) (served, []string, error){src.Dnsmasq: readDnsmasq, src.Kea: readKea} {
		if name == "" {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("setup: %w", err)
		}
		s, more, err := read(data, src)
		if err != nil {
			return nil, fmt.Errorf("setup: %s: %w", name, err)
		}
		for _, n := range more {
			notes = append(notes, name+" "+n)
		}
		if s.subnet.IsValid() {
			notes = append(notes, s.takeOver(c, name, src.Own)...)
		}
	}
	if src.TFTP != "" {
		more, err := importTFTP(c, src.TFTP)
		if err != nil {
			return nil, err
		}
		notes = append(notes, more...)
	}
	return notes, nil
}

func importDHCPD(c *config.Config, list []dhcpdconf.Statement, src Sources) []string {
	r := &isc{own: src.Own, lookup: src.Lookup}
	s, ok := r.read(list)
	if !ok {
		return append(r.notes, src.DHCPD+": no subnet is served, so nothing of it is taken over")
	}
	return append(r.notes, s.takeOver(c, src.DHCPD, src.Own)...)
}
