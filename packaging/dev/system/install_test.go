package system

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// managers are scripts that have somebody give ens33 its address, as installers of Debian do.
var managers = map[string]string{
	"ifupdown": `printf 'auto lo ens33\niface lo inet loopback\niface ens33 inet dhcp\n' > /etc/network/interfaces
		systemctl enable --now --quiet networking`,
	"NetworkManager": `systemctl enable --now --quiet NetworkManager
		nmcli connection add type ethernet ifname ens33 con-name uplink ipv4.method auto && nmcli connection up uplink`,
	"systemd-networkd": `printf '[Match]\nName=ens33\n[Network]\nDHCP=ipv4\n' > /etc/systemd/network/uplink.network
		systemctl enable --now --quiet systemd-networkd`,
}

// manage has somebody manage ens33, and returns its address.
func (m *machine) manage(manager string) string {
	m.t.Helper()
	m.sh(managers[manager])
	m.eventually("ip -4 -o address show dev ens33", "198.51.100.5")
	fields := strings.Fields(m.sh("ip -4 -o address show dev ens33"))
	address, _, _ := strings.Cut(fields[3], "/")
	return address
}

// state is what an uninstalled package must leave as it was. fail2ban is not part of it: on a plain Debian 12 it does
// not start, and with the package's file it does. Nor are services that come and go by themselves, the metric of
// a route, in which NetworkManager counts the order of cards, and backups, which a purge leaves: one is made by night.
func (m *machine) state() string {
	m.t.Helper()
	return m.sh(`systemctl list-unit-files --no-legend --no-pager | awk '{print $1, $2}' | grep -vE '^(run|session)-' | sort
		systemctl list-units --no-legend --no-pager --plain --type=service --state=active | awk '{print $1}' | grep -vE '^(run-|user|fail2ban|systemd-hostnamed|systemd-network-generator|NetworkManager-dispatcher)' | sort
		find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/log -o -path /var/cache -o -path /var/lib/apt \
			-o -path /var/lib/dpkg -o -path /var/lib/systemd -o -path /root -o -path /var/lib/dhcp -o -path /var/lib/chrony -o -path /var/lib/fail2ban \
			-o -path /var/lib/NetworkManager -o -path /srv -o -path /var/backups/sae-agent \) -prune -o -type f -print -o -type l -print | grep -vE '^/usr/share/keyrings/sae-agent|^/etc/(apt|passwd|group|shadow|gshadow|subuid|subgid)' | sort
		ip -br address | sed 's/@if[0-9]*//' | awk '{print $1, $2, $3}'; ip route | sed 's/ metric [0-9]*//; s/ *$//'; ip rule
		nft list ruleset; cat /proc/sys/net/ipv4/ip_forward; cat /etc/resolv.conf; cut -d: -f1 /etc/passwd /etc/group`)
}

// The promise: install over SSH, name the phones, and they come up; also after a
// reboot. Purged, the package leaves nothing.
func TestInstallRebootPurge(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	address := m.manage("ifupdown")
	before := m.state()
	operator := m.ssh(m.provider, address)
	m.install()
	operator.alive()

	if got := m.sh("stat -c '%a %U' /etc/sae-agent/config.yaml"); got != "640 root\n" {
		t.Errorf("the configuration's mode: %s", got)
	}
	m.eventually("sae-agent status", "ens33 (external) up "+address, "ens34 (static) up 192.168.1.1/24", "serving", "no phone has a line yet")
	if out := m.sh("cat /etc/sae-agent/config.yaml"); !strings.Contains(out, "ifupdown") {
		t.Errorf("the configuration does not say who manages the uplink:\n%s", out)
	}
	m.namePhones()
	m.phonesBoot()
	operator.alive()
	m.sh("systemctl is-active sae-agent sae-agent-boot.service || systemctl is-enabled sae-agent-boot.service")
	if out := m.sh("journalctl SAE_PART=network SAE_EVENT='network changed' -o json"); !strings.Contains(out, `"SAE_CHANGE":"ens34: add address 192.168.1.1/24"`) {
		t.Errorf("the journal has no structured fields:\n%s", out)
	}
	m.eventually("sae-agent logs --phone 001565000001", "phone looks for an address", "dhcp      lease", "phone fetched its file")
	if out := m.sh("sae-agent logs --part network"); !strings.Contains(out, "network changed") || strings.Contains(out, "lease ") {
		t.Errorf("what one part says, from the journal:\n%s", out)
	}
	m.sh("test -f /usr/share/sae-agent/grafana/dashboards/sae-overview.json && test -f /usr/share/sae-agent/prometheus/rules/sae-agent.yml")

	m.sh("sae-agent phones add 00:15:65:00:00:04 --model T42U --extension 104 --name Dora")
	if got := m.sh("stat -c '%a %U' /etc/sae-agent/config.yaml; tail -n 1 /etc/sae-agent/config.yaml; sae-agent status || true"); !strings.HasPrefix(got, "640 root\n") ||
		!strings.Contains(got, `{mac: "00:15:65:00:00:04", model: T42U, extension: "104"}`) || strings.Contains(got, "differs from what runs") {
		t.Errorf("after phones add: %s", got)
	}
	m.sh("sae-agent phones remove 00:15:65:00:00:04 --extension")

	m.secretsStayHome()
	m.reboot()
	m.phonesBoot()
	m.sh("systemctl is-active sae-agent sae-agent-boot")
	m.sh("useradd -G sae-agent installer && runuser -u installer -- sae-agent status && userdel installer")

	m.sh("systemctl stop sae-agent")
	if out := m.sh("ip -4 -o address show dev ens34"); !strings.Contains(out, "192.168.1.1/24") {
		t.Errorf("stopping the service took the address away: %s", out)
	}
	m.sh("apt-get -q -y remove sae-agent")
	m.sh("test -f /etc/sae-agent/config.yaml && test -d /var/lib/sae-agent")
	m.sh("apt-get -q -y purge sae-agent")
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(m.state(), "\n")); diff != "" {
		t.Errorf("left behind, or lost:\n%s", diff)
	}
}

// A LAN card that is in use is not taken, whoever set it up, and a session over it lives on.
func TestCardInUseIsNotTaken(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.manage("ifupdown")
	m.sh("ip address add 192.168.1.77/24 dev ens34 && ip link set ens34 up")
	desk := m.lab.Host("desk")
	m.lan.Plug(desk, "eth0")
	desk.Addr("eth0", "192.168.1.5/24")
	operator := m.ssh(desk, "192.168.1.77")
	m.install()
	m.eventually("sae-agent status", "dhcp.enabled is false", "ens34 (static) up 192.168.1.77/24")
	operator.alive()
	desk.Run("ping", "-c", "1", "-W", "5", "192.168.1.77")
	if out := m.sh("ip -4 -o address show dev ens34"); strings.Count(out, "inet ") != 1 {
		t.Errorf("addresses of a card in use: %s", out)
	}
}

// secretsStayHome fails the test if a generated password shows anywhere but in the state.
func (m *machine) secretsStayHome() {
	m.t.Helper()
	var secrets map[string]string
	if err := json.Unmarshal([]byte(m.sh("cat /var/lib/sae-agent/secrets.json")), &secrets); err != nil {
		m.t.Fatal(err)
	}
	if len(secrets) < 3 {
		m.t.Fatalf("%d phones have only %d passwords", 3, len(secrets))
	}
	for _, place := range []string{
		"journalctl --no-pager --output=export", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ",
		"find /tmp /var/tmp /var/log /var/cache /run -xdev -type f -exec cat {} +", "find /etc /usr/share/sae-agent -type f -exec cat {} +",
		"systemctl show sae-agent", "sae-agent status --json", "curl -sS http://192.168.1.1:9303/metrics",
	} {
		out, _ := m.try(place) // some processes end meanwhile
		for name, secret := range secrets {
			if strings.Contains(out, secret) {
				m.t.Errorf("%q shows the password of %s", place, name)
			}
		}
		if out == "" {
			m.t.Errorf("%q shows nothing at all", place)
		}
	}
}
