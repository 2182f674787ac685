package system

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// former is how a machine was before: who manages its cards, and who serves its LAN.
type former struct {
	setUp   string   // a script
	server  string   // unit that serves DHCP; without one, another machine did, which is gone now
	says    []string // what doctor says of it
	uplink  bool     // ens33 has its address by it
	managed bool     // so has ens34
	named   bool     // it has a phone's file
}

const seedDHCP = `subnet 192.168.1.0 netmask 255.255.255.0 {
    range 192.168.1.10 192.168.1.100;
    option routers 192.168.1.1;
    option tftp-server-name "tftp://192.168.1.1";
}
`

const seedPhone = `#!version:1.0.0.1
account.1.enable = 1
account.1.label = 200
account.1.display_name = Zoe
account.1.auth_name = 200
account.1.user_name = 200
account.1.password = vO7x2kQp9aLm
account.1.sip_server.1.address = 192.168.1.1
lang.gui = French
`

const ifupdownBoth = `printf 'auto lo ens33 ens34\niface lo inet loopback\niface ens33 inet dhcp\niface ens34 inet static\n  address 192.168.1.1/24\n' > /etc/network/interfaces
	systemctl enable --now --quiet networking
`

// formers are the machines that people have.
var formers = map[string]former{
	"nothing": {},
	"ifupdown": {
		setUp: ifupdownBoth, uplink: true, managed: true,
		says: []string{"ifupdown (/etc/network/interfaces) manages ens34"},
	},
	"NetworkManager": {
		setUp: `systemctl enable --now --quiet NetworkManager
			nmcli connection add type ethernet ifname ens33 con-name uplink ipv4.method auto && nmcli connection up uplink
			nmcli connection add type ethernet ifname ens34 con-name phones ipv4.method manual ipv4.addresses 192.168.1.1/24 && nmcli connection up phones`,
		says:   []string{"NetworkManager", "manages ens34"},
		uplink: true, managed: true,
	},
	"systemd-networkd": {
		setUp: `printf '[Match]\nName=ens33\n[Network]\nDHCP=ipv4\n' > /etc/systemd/network/uplink.network
			printf '[Match]\nName=ens34\n[Network]\nAddress=192.168.1.1/24\n' > /etc/systemd/network/phones.network
			systemctl enable --now --quiet systemd-networkd`,
		says:   []string{"systemd-networkd", "manages ens34"},
		uplink: true, managed: true,
	},
	"isc-dhcp-server": {
		setUp: ifupdownBoth + `printf 'INTERFACESv4="ens34"\n' > /etc/default/isc-dhcp-server
			cat > /etc/dhcp/dhcpd.conf <<'END'
` + seedDHCP + `END
			mkdir -p /tftpboot && cat > /tftpboot/001565000009.cfg <<'END'
` + seedPhone + `END
			sed -i 's|^TFTP_DIRECTORY=.*|TFTP_DIRECTORY="/tftpboot"|' /etc/default/tftpd-hpa
			systemctl enable --quiet isc-dhcp-server tftpd-hpa; systemctl start isc-dhcp-server tftpd-hpa`, // --now would start no init script
		server: "isc-dhcp-server.service",
		says:   []string{"dhcpd (isc-dhcp-server.service) answers DHCP", "in.tftpd (tftpd-hpa.service) answers TFTP", "ifupdown (/etc/network/interfaces) manages ens34"},
		uplink: true, managed: true, named: true,
	},
	"dnsmasq": {
		setUp: ifupdownBoth + `printf 'interface=ens34\nbind-interfaces\nport=0\ndhcp-range=192.168.1.10,192.168.1.100,1h\ndhcp-option=66,192.168.1.1\nenable-tftp\ntftp-root=/srv/tftp\n' > /etc/dnsmasq.conf
			systemctl enable --now --quiet dnsmasq`,
		server: "dnsmasq.service",
		says:   []string{"dnsmasq (dnsmasq.service) answers DHCP"},
		uplink: true, managed: true,
	},
}

// A machine that somebody set up otherwise is taken over, its clients keep their addresses without asking for one
// anew, and it is given back as it was: by --undo while the daemon runs, and by removing the package.
func TestMovingInAndOut(t *testing.T) {
	t.Parallel()
	for name, f := range formers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.boot()
			m.sh(f.setUp)
			var operator *session
			if f.uplink {
				operator = m.ssh(m.provider, m.uplink())
			}
			client := m.leaseOf(f)
			before := m.state()

			m.install()
			m.moveIn(f)
			client.renews("while " + name + " was taken over")
			if operator != nil {
				operator.alive()
			}
			m.phonesBoot()
			m.reboot()
			m.phonesBoot()
			client.renews("after the machine had booted")

			m.sh("sae-agent takeover --undo --yes && test ! -e /etc/fail2ban/jail.d/sae-agent-jails.conf")
			m.eventually("fail2ban-client get sshd actions", "!sae-agent") // whose program has ended
			m.worksAsBefore(f, client)
			m.sh("systemctl enable --now --quiet sae-agent-boot sae-agent && sae-agent takeover --yes") // there and back again
			m.phonesBoot()
			m.sh("systemd-run --quiet --unit=sae-agent-left false") // as a daemon that is killed leaves its commands
			m.sh("apt-get -q -y purge sae-agent")
			m.worksAsBefore(f, client)
			if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(m.state(), "\n")); diff != "" {
				t.Errorf("left behind, or lost:\n%s", diff)
			}
		})
	}
}

// uplink returns the address of ens33, once it has one.
func (m *machine) uplink() string {
	m.t.Helper()
	m.eventually("ip -4 -o address show dev ens33", "198.51.100.5")
	address, _, _ := strings.Cut(strings.Fields(m.sh("ip -4 -o address show dev ens33"))[3], "/")
	return address
}

// moveIn does what docs/operations.md says.
func (m *machine) moveIn(f former) {
	m.t.Helper()
	if f.server != "" {
		m.sh("sae-agent import --yes")
	}
	m.eventually("sae-agent doctor", f.says...)
	if !f.named {
		m.writePhones()
	}
	m.sh("sed -i '/^dhcp:/,/^[a-z]/s/enabled: false/enabled: true/' /etc/sae-agent/config.yaml") // as its comment says
	if out, err := m.try("sae-agent apply"); f.server != "" && (err == nil || !strings.Contains(out, "another program holds UDP port 67")) {
		m.t.Errorf("applied while another serves: %v\n%s", err, out)
	}
	if out, err := m.try("echo n | sae-agent takeover"); err == nil || f.server != "" && !strings.Contains(out, "stop and mask "+f.server) {
		m.t.Errorf("takeover without consent: %v\n%s", err, out)
	}
	m.sh("sae-agent takeover --yes && sae-agent apply")
	if f.named {
		m.eventually("sae-agent phones --json", "00:15:65:00:00:09")
		m.sh(`sae-agent phones add 00:15:65:00:00:01 --model T42U --extension 100 --name Alice
			sae-agent phones add 00:15:65:00:00:02 --model T54W --extension 101 --name Bob
			sae-agent phones add 00:15:65:00:00:03 --model T46S --extension 102 --name Carol`)
	}
	m.eventually("sae-agent doctor", "!answers DHCP", "!manages ens34")
}

// worksAsBefore fails the test unless the cards have their addresses and clients are served as ever.
func (m *machine) worksAsBefore(f former, client *client) {
	m.t.Helper()
	if f.uplink {
		m.uplink()
	}
	if f.managed {
		m.eventually("ip -4 -o address show dev ens34", "192.168.1.1/24")
	}
	if f.server != "" {
		m.eventually("systemctl is-active "+f.server, "active", "!inactive")
		client.renews("from " + f.server + " again")
	}
}

// client is a client of the LAN that stays on.
type client struct {
	t       testing.TB
	process *labtest.Process
	address string
}

const clientScript = `#!/bin/sh
case $1 in
deconfig) ip address flush dev $interface; ip link set $interface up ;;
bound | renew) ip address replace $ip/$mask dev $interface; echo "$1 $ip." ;;
esac
`

// leaseOf has a client get its address from whoever serves the LAN.
func (m *machine) leaseOf(f former) *client {
	m.t.Helper()
	dir := m.t.TempDir()
	for name, content := range map[string]string{"dhcpd.conf": seedDHCP, "leases": "", "script": clientScript} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
	if f.server == "" {
		old := m.lab.Host("old")
		m.lan.Plug(old, "eth0")
		old.Addr("eth0", "192.168.1.254/24")
		server := old.Start("dhcpd", "-4", "-f", "-d", "--no-pid", "-cf", filepath.Join(dir, "dhcpd.conf"), "-lf", filepath.Join(dir, "leases"), "eth0")
		server.WaitOutput("Server starting service")
		defer func() { _ = server.Stop(); old.Run("ip", "link", "delete", "eth0") }()
	}
	h := m.lab.Host("desk")
	m.lan.Plug(h, "eth0")
	c := &client{t: m.t, process: h.Start("udhcpc", "-f", "-i", "eth0", "-t", "60", "-T", "1", "-s", filepath.Join(dir, "script"))}
	c.process.WaitOutput("bound 192.168.1.")
	_, rest, _ := strings.Cut(c.process.Output(), "bound ")
	c.address, _, _ = strings.Cut(rest, ".\n")
	return c
}

// renews fails the test unless the client gets its address once more, without having looked for one anew.
func (c *client) renews(when string) {
	c.t.Helper()
	renewed := "renew " + c.address + "."
	had := strings.Count(c.process.Output(), renewed)
	if err := c.process.Signal(syscall.SIGUSR1); err != nil {
		c.t.Fatal(err)
	}
	labtest.Eventually(c.t, func() error {
		if strings.Count(c.process.Output(), renewed) == had {
			return fmt.Errorf("%s, the client does not renew its lease", when)
		}
		return nil
	})
	_, since, _ := strings.Cut(c.process.Output(), "bound ")
	if strings.Contains(since, "broadcasting discover") || strings.Contains(since, "bound ") {
		c.t.Errorf("%s, the client looked for an address anew:\n%s", when, c.process.Output())
	}
}
