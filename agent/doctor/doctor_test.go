package doctor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/netcfg"
)

const site = `wan: {interface: ens33, method: dhcp}
lan: {interface: ens34, address: 192.168.1.1/24}
dhcp: {range: 192.168.1.10-192.168.1.100}
pbx: {driver: asterisk}
`

// healthy are the facts of a machine that lacks nothing.
func healthy(t *testing.T) Facts {
	t.Helper()
	cfg, _, err := config.Options{}.Parse("config.yaml", []byte(site))
	if err != nil {
		t.Fatal(err)
	}
	card := Card{Exists: true, Up: true, Carrier: true}
	return Facts{
		ConfigPath: "config.yaml", Config: cfg, Daemon: &control.Status{}, Cards: map[string]Card{"ens33": card, "ens34": card},
		Listeners: []Listener{
			listener("udp", "0.0.0.0:67", "sae-agent", "sae-agent.service"), listener("udp", "192.168.1.1:69", "sae-agent", "sae-agent.service"),
			listener("tcp", "192.168.1.1:9303", "sae-agent", "sae-agent.service"), listener("tcp", "0.0.0.0:22", "sshd", "ssh.service"),
			listener("udp", "0.0.0.0:5060", "asterisk", "asterisk.service"),
		},
		Machine: Machine{
			Clock: Clock{Now: oldest.AddDate(1, 0, 0), Asked: true, Synchronised: true}, DiskFree: 10 << 30, Memory: 1 << 30,
			Hostname: "appliance", Hosts: "127.0.0.1 localhost\n127.0.1.1 appliance.example appliance # ours\n",
		},
	}
}

func listener(protocol, addr, program, unit string) Listener {
	return Listener{Protocol: protocol, Addr: netip.MustParseAddrPort(addr), Program: program, PID: 42, Unit: unit}
}

func TestChecks(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Facts)
		check  string
		what   string // empty: nothing is wrong
		fix    string
	}{
		"healthy":         {func(*Facts) {}, "", "", ""},
		"no config":       {func(f *Facts) { f.Config, f.ConfigErr = nil, errors.New("no such file") }, "config", "config.yaml: no such file", "sae-agent init"},
		"no daemon":       {func(f *Facts) { f.Daemon, f.DaemonErr = nil, errors.New("nobody there") }, "daemon", "nobody there", "systemctl start"},
		"no card":         {func(f *Facts) { delete(f.Cards, "ens34") }, "cards", "no card ens34", "lan.interface"},
		"card off":        {func(f *Facts) { f.Cards["ens33"] = Card{Exists: true} }, "cards", "ens33 is switched off", "ip link set ens33 up"},
		"no link":         {func(f *Facts) { f.Cards["ens34"] = Card{Exists: true, Up: true} }, "cards", "ens34 has no link", "cable"},
		"isc-dhcp-server": {listens("udp", "0.0.0.0:67", "dhcpd", "isc-dhcp-server.service"), "dhcp-port", "dhcpd (isc-dhcp-server.service) answers DHCP", "systemctl stop isc-dhcp-server.service; systemctl disable isc-dhcp-server.service"},
		"dnsmasq":         {listens("udp", "0.0.0.0:67", "dnsmasq", ""), "dhcp-port", "dnsmasq (process 42) answers DHCP", "takeover"},
		"DHCP off":        {func(f *Facts) { listens("udp", "0.0.0.0:67", "dhcpd", "")(f); f.Config.DHCP.Enabled = false }, "", "", ""},
		"tftpd-hpa":       {listens("udp", "[::]:69", "in.tftpd", "tftpd-hpa.service"), "tftp-port", "in.tftpd (tftpd-hpa.service) answers TFTP", "takeover"},
		"someone on 69":   {listens("udp", "[::]:69", "", ""), "tftp-port", "another program answers TFTP", "stop it"},
		"rival":           {func(f *Facts) { f.Rivals = []string{"192.168.1.254 (aa:bb:cc:dd:ee:ff)"} }, "rivals", "192.168.1.254", "dhcp.enabled: false"},
		"the daemon knows": {func(f *Facts) {
			f.Daemon.Problems = []problem.Problem{{ID: problem.QoSNotShaped, Part: "qos", What: "there is no card", Fix: "remove qos.wan_upload"}}
		}, "qos", "there is no card", "qos.wan_upload"},
		"both know": {func(f *Facts) {
			f.DiskFree = 5 << 20
			f.Daemon.Problems = []problem.Problem{{ID: problem.DiskFull, Part: "machine", What: "only 4 MiB", Fix: "make room"}}
		}, "machine", "only 4 MiB", "make room"},
		"clock not asked":    {func(f *Facts) { f.Clock.Asked, f.Clock.Synchronised = false, false }, "", "", ""},
		"own name unknown":   {func(f *Facts) { f.Hosts = "127.0.0.1 localhost\n#127.0.1.1 appliance\n" }, "hostname", "appliance, this machine's own name", "127.0.1.1 appliance"},
		"no exchange here":   {func(f *Facts) { f.Hosts = ""; f.Config.PBX.Driver = config.DriverNone }, "", "", ""},
		"port taken":         {listens("tcp", "0.0.0.0:9303", "haproxy", "haproxy.service"), "ports", "haproxy (haproxy.service) holds tcp port 9303, which is for the agent's HTTP server", "change the port"},
		"SIP taken":          {listens("udp", "0.0.0.0:5060", "kamailio", ""), "ports", "kamailio (process 42) holds udp port 5060, which is for SIP", "change the port"},
		"clock wrong":        {func(f *Facts) { f.Clock.Now = time.Unix(0, 0).UTC() }, "clock", "1970-01-01", "timedatectl"},
		"clock on its own":   {func(f *Facts) { f.Clock.Synchronised = false }, "clock", "not kept by a time server", "chrony"},
		"disk full":          {func(f *Facts) { f.DiskFree = 5 << 20 }, "disk", "only 5 MiB", "make room"},
		"disk nearly full":   {func(f *Facts) { f.DiskFree = 500 << 20 }, "disk", "only 500 MiB", "make room"},
		"memory short":       {func(f *Facts) { f.Memory = 100 << 20 }, "memory", "only 100 MiB", "give the machine more"},
		"ifupdown":           {owned("ens34"), "owners", "ifupdown (/etc/network/interfaces) manages ens34", "takeover"},
		"WAN of ifupdown":    {owned("ens33"), "owners", "manages ens33", "takeover"},
		"WAN is left to him": {func(f *Facts) { owned("ens33")(f); f.Config.WAN.Method = config.WANExternal }, "", "", ""},
		"SSH by password":    {passwords(config.Service{Name: "ssh"}), "ssh", "anybody on the Internet may guess", "PasswordAuthentication no"},
		"and by its port":    {passwords(config.Service{Protocol: "tcp", Ports: config.PortRange{First: 20, Last: 30}}), "ssh", "by password", "sshd_config.d"},
		"SSH on the LAN":     {passwords(config.Service{Protocol: "udp", Ports: config.PortRange{First: 20, Last: 30}}), "", "", ""},
		"SSH by keys":        {func(f *Facts) { f.Config.Firewall.WANAllow = []config.Service{{Name: "ssh"}} }, "", "", ""},
		"no firewall":        {func(f *Facts) { passwords()(f); f.Config.Firewall.Enabled = false }, "ssh", "by password", "authorized_keys"},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthy(t)
			c.change(&f)
			got := Examine(f)
			switch {
			case c.what == "" && len(got) > 0:
				t.Errorf("found %+v", got)
			case c.what != "" && (len(got) != 1 || got[0].ID == "" || got[0].Part != c.check || !strings.Contains(got[0].What, c.what) || !strings.Contains(got[0].Fix, c.fix)):
				t.Errorf("found %+v, want %s: %s (%s)", got, c.check, c.what, c.fix)
			}
		})
	}
}

func listens(protocol, addr, program, unit string) func(*Facts) {
	return func(f *Facts) { f.Listeners = append(f.Listeners, listener(protocol, addr, program, unit)) }
}

func passwords(open ...config.Service) func(*Facts) {
	return func(f *Facts) { f.PasswordLogin, f.Config.Firewall.WANAllow = true, open }
}

func owned(card string) func(*Facts) {
	return func(f *Facts) {
		c := f.Cards[card]
		c.Owners = []netcfg.Owner{{Manager: "ifupdown", Evidence: "/etc/network/interfaces", Advice: "remove the lines"}}
		f.Cards[card] = c
	}
}

// The facts of this machine, with a socket of our own.
func TestLook(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	f := healthy(t)
	got, err := Gather(t.Context(), Source{
		Facts: f, StateDir: filepath.Join(t.TempDir(), "not", "there"),
		Daemon: func(context.Context) (control.Status, error) { return control.Status{}, control.ErrNoDaemon },
	})
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, l := range got.Listeners {
		found = found || (l.PID == os.Getpid() && l.Program == "doctor.test" && l.Addr.String() == conn.LocalAddr().String())
	}
	if !found {
		t.Errorf("our own socket %v is not among %+v", conn.LocalAddr(), got.Listeners)
	}
	if got.Cards["ens34"].Exists || got.DiskFree == 0 || got.Memory == 0 || got.Clock.Now.IsZero() || !errors.Is(got.DaemonErr, control.ErrNoDaemon) {
		t.Errorf("facts: %+v", got)
	}
	if c := inspectCard(t.Context(), "lo"); !c.Exists {
		t.Errorf("lo: %+v", c)
	}
}
