//go:build vm

package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// phoneCount is how many phones the site has. A third of them has an address when the current is cut.
const phoneCount = 300

// site is the end of the configuration file, and the phones that it names.
func site() (config string, phones []phone) {
	var extensions, lines strings.Builder
	models := []string{"T42U", "T46S", "T48U", "T54W"}
	for i := range phoneCount {
		p := phone{MAC: fmt.Sprintf("00:15:65:00:%02x:%02x", i>>8, i&0xff), Model: models[i%len(models)], Extension: fmt.Sprint(1000 + i)}
		fmt.Fprintf(&extensions, "  - {number: %q, name: Phone %d}\n", p.Extension, i)
		fmt.Fprintf(&lines, "  - {mac: %q, model: %s, extension: %q}\n", p.MAC, p.Model, p.Extension)
		phones = append(phones, p)
	}
	return "extensions:\n" + extensions.String() + "phones:\n" + lines.String(), phones
}

// installAndName installs the package from the signed repository, as the README says, and names the phones.
func (m *machine) installAndName(config string) {
	m.t.Helper()
	m.sh(`wget -qO- http://198.51.100.1/sae-agent.asc > /usr/share/keyrings/sae-agent.asc
		echo 'deb [signed-by=/usr/share/keyrings/sae-agent.asc] http://198.51.100.1 bookworm main' > /etc/apt/sources.list.d/sae-agent.list
		export DEBIAN_FRONTEND=noninteractive && apt-get -q update && apt-get -q -y install sae-agent`)
	m.sh(`cd /etc/sae-agent && sed -i '/^extensions:/,$d; /^phones:/,$d' config.yaml &&
		sed -i 's|address: 192.168.1.1/24|address: 192.168.0.1/20|; s|192.168.1.10-192.168.1.100|192.168.0.10-192.168.15.249|' config.yaml && cat >> config.yaml <<'END'
` + config + `END
		sae-agent check && sae-agent apply`)
}

// comeUp waits until all phones are up, and returns their addresses by MAC.
func (m *machine) comeUp(phones []phone) map[string]string {
	m.t.Helper()
	var after []phone
	labtest.Eventually(m.t, func() (err error) {
		after, err = m.storm(phones)()
		return err
	})
	addresses := make(map[string]string)
	owner := make(map[string]string)
	for _, p := range after {
		addresses[p.MAC] = p.Address
		if other := owner[p.Address]; other != "" {
			m.t.Errorf("%s was given to %s and to %s", p.Address, other, p.MAC)
		}
		owner[p.Address] = p.MAC
	}
	return addresses
}

// leases returns what the machine says of its leases, by MAC.
func (m *machine) leases() map[string]string {
	m.t.Helper()
	var all []struct{ Address, MAC, State string }
	out := m.sh("sae-agent leases --json")
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		m.t.Fatalf("leases: %v\n%s", err, out)
	}
	leases := make(map[string]string)
	for _, l := range all {
		leases[l.MAC] = l.Address
	}
	return leases
}

// Installed on a machine that never saw the product, it brings up phones, also after a reboot. A power cut in the
// middle of a storm loses no lease that was acknowledged.
func TestInstallRebootPowerCut(t *testing.T) {
	m := newMachine(t)
	config, phones := site()
	m.boot()
	t.Log("The machine runs ", strings.TrimSpace(m.sh("uname -a")))
	m.installAndName(config)
	few := phones[:5]
	m.comeUp(few)
	m.reboot()
	first := m.comeUp(few)

	seen := watch(t, m.host, "tap-lan")
	storm, stormed := m.storm(phones), make(chan struct{})
	go func() {
		defer close(stormed)
		if up, err := storm(); err == nil {
			t.Errorf("no phone noticed the power cut: %s", summary(up))
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	if err := seen.wait(ctx, phoneCount/3); err != nil {
		t.Fatal(err)
	}
	m.cut()
	<-stormed
	before := seen.leases()
	if len(before) == phoneCount {
		t.Error("the storm was over before the power cut")
	}

	m.boot()
	kept := m.leases()
	lost := 0
	for mac, address := range before {
		if kept[mac] != address {
			lost++
			t.Errorf("%s was given %s; after the power cut it has %q", mac, address, kept[mac])
		}
	}
	t.Logf("Power cut in a storm of %d phones. Leases acknowledged before it: %d. Of these there after it: %d. Lost: %d.",
		phoneCount, len(before), len(before)-lost, lost)

	after := m.comeUp(phones)
	for mac, address := range before {
		if after[mac] != address {
			t.Errorf("%s had %s, and has %s after the power cut", mac, address, after[mac])
		}
	}
	for mac, address := range first {
		if after[mac] != address {
			t.Errorf("%s had %s before the storm, and has %s after it", mac, address, after[mac])
		}
	}
	t.Logf("All %d phones came up after it, the %d with the addresses that they had.", len(after), len(before))
}
