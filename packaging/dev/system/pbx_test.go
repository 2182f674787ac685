package system

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// installer behaves as Sangoma's does where that matters: it stops at the first
// error, starts tftpd-hpa half way, leaves something running, and brings a package,
// fwconsole and Asterisk; stand-ins, since the real ones cannot be had here.
const installer = `#!/bin/bash
set -e
step() { echo "$(date '+%Y-%m-%d %T') - $*"; }
[ "$*" = "--skipversion --opensourceonly" ] || { echo "unknown options $*"; exit 1; }
step "Starting installation."
systemctl mask tftpd-hpa.service
test -e /etc/apache2/conf-enabled/zz-sae-agent-first-run.conf
while [ ! -e /run/go-on ]; do sleep 0.2; done
systemctl unmask tftpd-hpa.service
systemctl enable tftpd-hpa.service
systemctl start tftpd-hpa.service
step "Installing FreePBX 17"
if [ -e /run/do-nothing ]; then exit 0; fi
mkdir -p /tmp/p/DEBIAN
printf 'Package: freepbx17\nVersion: 17.0\nArchitecture: all\nMaintainer: test <test@example.org>\nDescription: stand-in\n' > /tmp/p/DEBIAN/control
dpkg-deb -b /tmp/p /tmp/p.deb && dpkg -i /tmp/p.deb
printf '#!/bin/sh\necho Asterisk 22.0.0\n' > /usr/sbin/asterisk
cat > /usr/sbin/fwconsole <<'END'
#!/bin/sh
for m in framework core voicemail bulkhandler api; do echo "| $m | 17.0 | Enabled | GPLv3+ | Sangoma |"; done
END
chmod +x /usr/sbin/asterisk /usr/sbin/fwconsole
sleep 1000 &
echo $! > /run/left-running
step "FreePBX 17 Installation finished successfully."
`

// The installation outlives its command, phones are served all the while, and what
// was not installed is not believed.
func TestPBXInstall(t *testing.T) {
	m := newMachine(t)
	m.boot()
	m.manage("ifupdown")
	m.install()
	m.namePhones()
	m.phonesBoot()
	sum := sha256.Sum256([]byte(installer))
	m.write("/root/installer.sh", installer)
	m.sh("echo '127.0.1.1 appliance.example.org appliance' >> /etc/hosts; hostname appliance; hostname -f")
	m.sh("sed -i 's/driver: none/driver: freepbx/; /^pbx:/a\\  installer_sha256: " + strings.Repeat("0", 64) + "' /etc/sae-agent/config.yaml && sae-agent apply")
	const command = "sae-agent pbx install --script /root/installer.sh --admin-from 192.168.1.50 --wait 1s"

	if out, err := m.try(command); err == nil || !strings.Contains(out, "not the one that was approved") {
		t.Errorf("a script that nobody approved: %v\n%s", err, out)
	}
	m.sh("sed -i 's/installer_sha256: 0*/installer_sha256: " + hex.EncodeToString(sum[:]) + "/' /etc/sae-agent/config.yaml && sae-agent apply")

	// Nothing begins while a host that it downloads from is out of reach.
	if out, err := m.try(command); err == nil || !strings.Contains(out, "mirror.freepbx.org:80") || !strings.Contains(out, "nothing was installed") {
		t.Errorf("without a way to the modules: %v\n%s", err, out)
	}
	m.serveModules()

	// It ends well and has done nothing.
	m.sh("touch /run/go-on /run/do-nothing")
	if out, err := m.try(command); err == nil || !strings.Contains(out, "asterisk is not installed") {
		t.Errorf("an installer that did nothing: %v\n%s", err, out)
	}
	m.sh("rm /run/go-on /run/do-nothing")

	// The command is killed half way; the installer goes on, and so do the phones.
	const half = command + ` > /run/half 2>&1 & timeout 60 sh -c 'until grep -q "Starting installation\." /run/half; do sleep 0.1; done'; kill -KILL $!; wait $!; status=$?; cat /run/half; exit $status`
	if out, err := m.try(half); err == nil || !strings.Contains(out, "Starting installation.") {
		t.Errorf("half way: %v\n%s", err, out)
	}
	m.sh("systemctl is-active sae-agent-pbx-install")
	m.phonesBoot()
	m.sh("(sleep 3; touch /run/go-on) >/dev/null 2>&1 &")
	out, err := m.try(command)
	if err == nil || !strings.Contains(out, "Installing FreePBX 17") || !strings.Contains(out, "What was to be installed is there.") {
		t.Errorf("shown again: %v\n%s", err, out)
	}
	m.phonesBoot()
	for script, want := range map[string]string{
		"systemctl is-enabled tftpd-hpa || true":                                 "masked",
		"systemctl is-active tftpd-hpa || true":                                  "inactive",
		"ls /run/systemd/system/tftpd-hpa.service.d":                             "",
		"cat /etc/apache2/conf-enabled/zz-sae-agent-first-run.conf":              "Require ip 192.168.1.50/32",
		"kill -0 $(cat /run/left-running) && echo lives":                         "lives",
		"stat -c %a /var/lib/sae-agent/pbx/install.log":                          "600",
		"systemctl list-units --failed --no-legend 'sae-agent*'; echo no failed": "no failed",
	} {
		if got := m.sh(script); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
}

// serveModules lets the provider stand for the host that FreePBX's modules come from.
func (m *machine) serveModules() {
	m.t.Helper()
	m.provider.Do(func() error {
		l, err := net.Listen("tcp", "198.51.100.1:80")
		if err == nil {
			m.t.Cleanup(func() { _ = l.Close() })
		}
		return err
	})
	m.sh("echo '198.51.100.1 mirror.freepbx.org' >> /etc/hosts")
}

// Services of others are watched through systemd, also after it was restarted.
func TestServicesAreWatched(t *testing.T) {
	m := newMachine(t)
	m.boot()
	m.manage("ifupdown")
	m.install()
	m.sh("systemctl enable --quiet fail2ban; systemctl restart fail2ban")
	m.eventually("sae-agent status", "fail2ban active, since")
	m.eventually("curl -sS http://127.0.0.1:9303/metrics", `sae_unit_active{unit="fail2ban"} 1`, `!sae_unit_active{unit="mariadb"}`)
	m.sh("systemctl stop fail2ban")
	m.eventually("sae-agent status", "fail2ban inactive", "fail2ban is inactive")
	m.sh("systemctl daemon-reexec && systemctl start fail2ban")
	m.eventually("sae-agent status", "fail2ban active", "!fail2ban is inactive")
	m.eventually("curl -sS http://127.0.0.1:9303/metrics", `sae_unit_active{unit="fail2ban"} 1`)
	m.eventually("journalctl -u sae-agent", "service changed")
}

// write puts a file onto the machine.
func (m *machine) write(path, content string) {
	m.t.Helper()
	pid := strings.TrimSpace(m.leader)
	if err := os.WriteFile(filepath.Join(fmt.Sprintf("/proc/%s/root", pid), path), []byte(content), 0o600); err != nil {
		m.t.Fatal(err)
	}
}
