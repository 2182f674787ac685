package system

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// ready returns a machine whose phones come up.
func ready(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t)
	m.boot()
	m.manage("ifupdown")
	m.install()
	m.namePhones()
	m.phonesBoot()
	return m
}

const breakLAN = "sed -i 's/192\\.168\\.1\\./10.99.99./g' /etc/sae-agent/config.yaml"

// Nobody confirms a change that breaks the LAN, and its daemon is killed: the
// timer brings the LAN back.
func TestUnconfirmedChangeComesBack(t *testing.T) {
	t.Parallel()
	m := ready(t)
	m.sh(breakLAN)
	m.sh("sae-agent apply --confirm 10s && systemctl list-timers --all | grep sae-agent-rollback.timer")
	m.eventually("ip -4 -o address show dev ens34", "10.99.99.1/24", "!192.168.1.1/24")
	m.sh("systemctl kill -s KILL sae-agent; systemctl stop sae-agent")
	m.eventually("ip -4 -o address show dev ens34", "192.168.1.1/24", "!10.99.99.1/24")
	m.sh("systemctl start sae-agent")
	m.phonesBoot()
	m.eventually("sae-agent rollback --list", "runs", "!waits")
	m.eventually("systemctl list-units --all --no-legend 'sae-agent-rollback*'", "!active")
}

// A reboot is no confirmation.
func TestRebootUndoesWhatNobodyConfirmed(t *testing.T) {
	t.Parallel()
	m := ready(t)
	m.sh(breakLAN)
	m.sh("sae-agent apply --confirm 1h")
	m.cut()
	m.boot()
	m.eventually("sae-agent status", "ens34 (static) up 192.168.1.1/24", "differs from what runs")
	m.phonesBoot()
}

// Confirmed, the change is there to stay, and its timer is gone.
func TestConfirmedChangeSurvivesReboot(t *testing.T) {
	t.Parallel()
	m := ready(t)
	m.sh("sed -i 's/name: Carol/name: Caroline/' /etc/sae-agent/config.yaml && sae-agent apply --confirm 1h && sae-agent confirm")
	m.eventually("systemctl list-units --all --no-legend 'sae-agent-rollback*'", "!sae-agent-rollback")
	m.reboot()
	m.eventually("curl -sS http://192.168.1.1:9303/phonebook.xml", "Caroline")
}

// However often the daemon dies, it is started again, a little later each time.
func TestKilledDaemonComesBack(t *testing.T) {
	t.Parallel()
	m := ready(t)
	for deaths := range 6 { // systemd gives up after five in ten seconds, unless told not to
		m.sh("systemctl kill -s KILL sae-agent")
		m.eventually("systemctl show --property=NRestarts,ActiveState sae-agent", fmt.Sprintf("NRestarts=%d\n", deaths+1), "ActiveState=active")
	}
	m.phonesBoot()
}

// previous makes a package of an earlier version, to upgrade from.
func (m *machine) previous() {
	m.t.Helper()
	m.sh(`cp /srv/apt/pool/main/s/sae-agent/sae-agent_*_amd64.deb /tmp/new.deb
		dpkg-deb -R /tmp/new.deb /tmp/previous
		sed -i 's/^Version: .*/Version: 0.0.1~previous/' /tmp/previous/DEBIAN/control
		dpkg-deb -b /tmp/previous /tmp/previous.deb && apt-get -q -y install /tmp/previous.deb`)
}

// Phones keep working while the package is upgraded, no lease is lost, and the
// admin's configuration stays as it is.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.manage("ifupdown")
	m.previous()
	m.namePhones()
	before := m.phonesBoot()
	config := m.sh("cat /etc/sae-agent/config.yaml")
	leases := m.sh("sae-agent leases --json")

	desk := m.lab.Host("desk") // pings its gateway all the time
	m.lan.Plug(desk, "eth0")
	desk.Addr("eth0", "192.168.1.200/24")
	ping := desk.Start("ping", "-i", "0.05", "192.168.1.1")
	ping.WaitOutput("icmp_seq=3 ")
	if out := m.install(); !strings.Contains(out, "Unpacking sae-agent") {
		t.Errorf("it was no upgrade:\n%s", out)
	}
	time.Sleep(time.Second)
	if err := ping.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-ping.Done()
	if !strings.Contains(ping.Output(), " 0% packet loss") {
		t.Errorf("the LAN was away during the upgrade:\n%s", ping.Output())
	}
	if out := m.sh("sae-agent version"); strings.Contains(out, "previous") {
		t.Errorf("still %s", out)
	}
	if now := m.sh("cat /etc/sae-agent/config.yaml"); now != config {
		t.Errorf("the configuration was changed:\n%s", now)
	}
	labtest.Eventually(t, func() error {
		out, err := m.try("sae-agent leases --json")
		if err != nil || out != leases {
			return fmt.Errorf("leases: %v\n%s\nbefore the upgrade:\n%s", err, out, leases)
		}
		return nil
	})
	after := m.phonesBoot()
	if fmt.Sprint(addresses(before)) != fmt.Sprint(addresses(after)) {
		t.Errorf("addresses changed: %v, then %v", addresses(before), addresses(after))
	}
	m.refusesLaterState()
}

// refusesLaterState goes back to the earlier version after a later one has written the state in another format.
func (m *machine) refusesLaterState() {
	m.t.Helper()
	const mark = "/var/lib/sae-agent/format.json"
	was := m.sh("systemctl stop sae-agent; cat " + mark)
	m.sh(`echo '{"format": 99, "version": "9.9"}' > ` + mark)
	const refusal = "was written by version 9.9"
	if out := m.sh("apt-get -q -y --allow-downgrades install /tmp/previous.deb"); !strings.Contains(out, refusal) || !strings.Contains(out, "backup restore") {
		m.t.Errorf("the installation of an earlier version does not say that it cannot read the state:\n%s", out)
	}
	m.eventually("systemctl show --property=NRestarts,ActiveState sae-agent", "NRestarts=0\n", "ActiveState=failed")
	for _, command := range []string{"sae-agent status", "sae-agent check", "sae-agent doctor", "journalctl --no-pager -u sae-agent"} {
		if out, _ := m.try(command); !strings.Contains(out, refusal) {
			m.t.Errorf("%s does not say it:\n%s", command, out)
		}
	}
	m.sh("echo '" + strings.TrimSpace(was) + "' > " + mark + "; systemctl start sae-agent")
	m.eventually("sae-agent status", "serving")
}

func addresses(r result) map[string]string {
	out := make(map[string]string)
	for _, p := range r.Phones {
		out[p.MAC] = p.Address
	}
	return out
}
