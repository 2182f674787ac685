package system

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func TestMain(m *testing.M) { lab.Main(m) }

const (
	wanMAC = "00:50:56:00:00:33"
	lanMAC = "00:50:56:00:00:34"
)

// scriptTime is what no script needs: one that takes longer waits for something that does not come.
const scriptTime = 5 * time.Minute

// bootScript makes the machine's root directory out of the image and what this
// machine has written, and boots it. It becomes the container's manager.
const bootScript = `set -e
image=$1 layers=$2 apt=$3 cgroup=$4
mkdir -p $layers/upper $layers/work $layers/root
mount -t overlay overlay -o lowerdir=$image,upperdir=$layers/upper,workdir=$layers/work $layers/root
mkdir -p $layers/root/srv/apt
mount --bind $apt $layers/root/srv/apt
# A control group of its own, since other machines may run at the same time.
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p $cgroup
echo 0 > $cgroup/cgroup.procs
# The container's own network is writable for it, its cards are real.
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
exec systemd-nspawn --quiet --directory=$layers/root --register=no --keep-unit --machine=appliance \
    --network-namespace-path=/proc/self/ns/net --capability=CAP_NET_ADMIN --console=pipe --boot </dev/null
`

// machine is a Debian 12 with two cards, ens33 towards a provider and ens34
// towards phones.
type machine struct {
	t        testing.TB
	lab      *labtest.Lab
	provider *labtest.Host
	wan, lan *labtest.Switch
	layers   string // what this machine has written
	cgroup   string // all its processes are below this control group
	key      string // of the operator, once it has opened a session

	// Of the current boot:
	cards   *labtest.Host
	process *labtest.Process
	leader  string // the process that is the machine's init
}

// newMachine lays out a site whose machine is off. Options for the provider's
// dnsmasq may be added.
func newMachine(t testing.TB) *machine {
	t.Helper()
	l := labtest.New(t)
	m := &machine{t: t, lab: l, provider: l.Host("provider"), wan: l.Switch("wan"), lan: l.Switch("lan"), layers: t.TempDir()}
	m.cgroup = "/sys/fs/cgroup/" + filepath.Base(filepath.Dir(m.layers))
	m.wan.Plug(m.provider, "eth0")
	m.provider.Addr("eth0", "198.51.100.1/24")
	m.provider.Start("dnsmasq", "--keep-in-foreground", "--log-facility=-", "--port=0", "--dhcp-authoritative",
		"--dhcp-range=198.51.100.50,198.51.100.59", "--dhcp-option=6,198.51.100.53").WaitOutput("DHCP, IP range")
	return m
}

func build(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "..", "build", name))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("%v: 'make build apt-repo system-image' makes it", err)
	}
	return path
}

// boot powers the machine on. Its cards are as new, whatever they were before.
func (m *machine) boot() {
	m.t.Helper()
	m.cards = m.lab.Host("appliance")
	m.wan.Plug(m.cards, "ens33")
	m.lan.Plug(m.cards, "ens34")
	for card, mac := range map[string]string{"ens33": wanMAC, "ens34": lanMAC} {
		m.cards.Down(card)
		m.cards.SetMAC(card, mac)
	}
	m.process = m.cards.Start("sh", "-c", bootScript, "boot", build(m.t, "_image"), m.layers, build(m.t, "apt"), m.cgroup)
	m.t.Cleanup(m.kill)
	labtest.Eventually(m.t, func() error {
		pid := m.process.Pid()
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
		if err != nil {
			return err
		}
		m.leader = strings.TrimSpace(string(children))
		out, err := m.try("systemctl is-system-running")
		if state := strings.TrimSpace(out); state != "running" && state != "degraded" {
			return fmt.Errorf("the machine is %q: %v", state, err)
		}
		return nil
	})
}

// reboot is a shutdown and a start.
func (m *machine) reboot() {
	m.t.Helper()
	if err := m.process.Signal(syscall.SIGTERM); err != nil {
		m.t.Fatal(err)
	}
	<-m.process.Done()
	m.unplug()
	m.boot()
}

// cut ends the machine as a power cut does.
func (m *machine) cut() {
	m.t.Helper()
	m.kill()
	m.unplug()
}

func (m *machine) unplug() {
	m.t.Helper()
	for _, card := range []string{"ens33", "ens34"} {
		m.cards.Run("ip", "link", "delete", card)
	}
}

// kill kills all of the machine's processes, which the end of its manager alone would not.
func (m *machine) kill() {
	m.t.Helper()
	const script = `[ ! -d $0 ] || { echo 1 > $0/cgroup.kill; find $0 -depth -type d -exec rmdir {} +; }`
	labtest.Eventually(m.t, func() error {
		// Not a context that ends with the test, which is over when it cleans up.
		cmd := m.cards.Host.Command(context.Background(), "sh", "-c", script, m.cgroup)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("control group: %w\n%s", err, out)
		}
		return nil
	})
	<-m.process.Done()
}

// try runs a shell script on the machine.
func (m *machine) try(script string) (string, error) {
	pid, err := strconv.Atoi(m.leader)
	if err != nil {
		return "", errors.New("the machine does not run")
	}
	ctx, cancel := context.WithTimeout(context.Background(), scriptTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", "--all", "--target", strconv.Itoa(pid), "env", "-i",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", script)
	cmd.WaitDelay = time.Second // programs that the script has started may live on
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// sh runs a shell script on the machine that must succeed.
func (m *machine) sh(script string) string {
	m.t.Helper()
	out, err := m.try(script)
	if err != nil {
		m.t.Fatalf("%s: %v\n%s\n%s", script, err, out, m.journal())
	}
	return out
}

func (m *machine) journal() string {
	out, _ := m.try("journalctl --no-pager -b -u 'sae-agent*' | tail -n 60")
	return "journal:\n" + out
}

// eventually waits until a script's output has all texts; one that begins with ! must not be there.
func (m *machine) eventually(script string, texts ...string) {
	m.t.Helper()
	labtest.Eventually(m.t, func() error {
		out, err := m.try(script)
		for _, text := range texts {
			not, negated := strings.CutPrefix(text, "!")
			if strings.Contains(out, not) == negated {
				return fmt.Errorf("%s: want %q: %v\n%s", script, text, err, out)
			}
		}
		return nil
	})
}

// install installs the package from the signed repository, as the README says.
func (m *machine) install() string {
	m.t.Helper()
	m.sh(`rm -f /etc/apt/sources.list; cp /srv/apt/sae-agent.asc /usr/share/keyrings/
		echo 'deb [signed-by=/usr/share/keyrings/sae-agent.asc] file:/srv/apt bookworm main' > /etc/apt/sources.list.d/sae-agent.list`)
	return m.sh("apt-get -q update && apt-get -q -y install sae-agent")
}

// phones are those of every test.
const phones = `extensions:
  - {number: "100", name: Alice}
  - {number: "101", name: Bob}
  - {number: "102", name: Carol}
phones:
  - {mac: "00:15:65:00:00:01", model: T42U, extension: "100"}
  - {mac: "00:15:65:00:00:02", model: T54W, extension: "101"}
  - {mac: "00:15:65:00:00:03", model: T46S, extension: "102"}
`

const inventory = `[{"mac": "001565000001", "model": "T42U", "extension": "100"},
 {"mac": "001565000002", "model": "T54W", "extension": "101"}, {"mac": "001565000003", "model": "T46S", "extension": "102"}]`

// namePhones writes the phones into the configuration, as an operator does, and applies it.
func (m *machine) namePhones() {
	m.t.Helper()
	m.writePhones()
	m.sh("sae-agent apply")
}

// writePhones puts the phones into the file and applies nothing.
func (m *machine) writePhones() {
	m.t.Helper()
	m.sh(`cd /etc/sae-agent && sed -i '/^extensions:/,$d; /^phones:/,$d' config.yaml && cat >> config.yaml <<'END'
` + phones + `END
sae-agent check`)
}

// result is what phonesim reports.
type result struct {
	Phones []struct {
		MAC, State, Error, Address string
	}
}

// provision powers phones on and returns what became of them.
func (m *machine) provision(name, inventory string, options ...string) (result, error) {
	m.t.Helper()
	h := m.lab.Host(name)
	m.lan.Plug(h, "eth0")
	file := filepath.Join(m.t.TempDir(), "phones.json")
	if err := os.WriteFile(file, []byte(inventory), 0o600); err != nil {
		m.t.Fatal(err)
	}
	out, err := h.Command(build(m.t, "phonesim"), append(options, "--interface", "eth0", "--inventory", file, "--storm", "--json")...).Output()
	h.Run("ip", "link", "delete", "eth0") // or the next phones would meet these
	var r result
	if jsonErr := json.Unmarshal(out, &r); jsonErr != nil {
		return r, errors.Join(err, jsonErr)
	}
	return r, err
}

// phonesBoot waits until all phones come up.
func (m *machine) phonesBoot() result {
	m.t.Helper()
	var r result
	labtest.Eventually(m.t, func() error {
		var err error
		if r, err = m.provision("phones", inventory); err != nil {
			out, _ := m.try("sae-agent status")
			return fmt.Errorf("%w: %+v\n%s", err, r, out)
		}
		return nil
	})
	return r
}

// session is an SSH session to the machine.
type session struct {
	m       *machine
	process *labtest.Process
	lines   int
}

// ssh opens a session from a host to an address of the machine.
func (m *machine) ssh(from *labtest.Host, address string) *session {
	m.t.Helper()
	key := filepath.Join(m.t.TempDir(), "key")
	from.Run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		m.t.Fatal(err)
	}
	m.sh("mkdir -p -m 0700 /root/.ssh && cat > /root/.ssh/authorized_keys <<'END'\n" + string(public) + "END\nsystemctl restart ssh")
	m.key = key
	s := &session{m: m}
	// It says every line again that it finds in a file.
	s.process = from.Start("ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ServerAliveInterval=5", "-i", key,
		"root@"+address, "echo session begins; touch /run/said; exec tail -f /run/said")
	s.process.WaitOutput("session begins")
	return s
}

// alive fails the test unless the session still carries what is said at its other end.
func (s *session) alive() {
	s.m.t.Helper()
	s.lines++
	text := fmt.Sprintf("line %d", s.lines)
	s.m.sh("echo " + text + " >> /run/said")
	s.process.WaitOutput(text)
}
