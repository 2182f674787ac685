package system

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// repair is a fault, and what its problem's own fix says to do about it.
type repair struct {
	id      problem.ID
	subject string
	// doctor says that doctor alone finds it, not the daemon.
	doctor bool
	fault  string // a script
	make   func(*machine)
	// choose picks a command of the fix by what it contains, where there are several ways. Empty: all are run, in order.
	choose string
	fill   []string // for words such as MAC, in pairs
	before string   // script for what the fix has a person do first
	then   string   // and afterwards
	after  string   // script that leaves the machine as it was
	// told says that it lasts until somebody was told of it.
	told bool
}

const (
	editCarol = "sed -i 's/name: Carol/name: Caroline/' /etc/sae-agent/config.yaml"
	editBack  = "sed -i 's/name: Caroline/name: Carol/' /etc/sae-agent/config.yaml"
	stranger  = "00:15:65:00:00:07"
)

// smallDisk puts the state and apt's archives onto a disk that is nearly full.
const smallDisk = `systemctl stop sae-agent
	mount -t tmpfs -o size=1100m tmpfs /mnt && cp -a /var/lib/sae-agent /mnt/state && mkdir /mnt/archives && fallocate -l 100M /mnt/archives/old.deb
	mount --bind /mnt/state /var/lib/sae-agent && mount --bind /mnt/archives /var/cache/apt/archives
	systemctl start sae-agent`

// acceptedOnce has the daemon begin with a configuration that this version refuses.
const acceptedOnce = `systemctl stop sae-agent; cd /var/lib/sae-agent/configs
	last=$(ls | tail -n 1); next=$(printf %06d $(($(echo ${last%%-*} | sed 's/^0*//') + 1)))
	sed 's/every: 1m/every: 1s/' "$last" > "$next-${last#*-}" && grep -q 'every: 1s' "$next-${last#*-}"
	systemctl start sae-agent`

// repairs are in the order in which one machine has them. Those that restart the daemon come first: what is told of a
// problem begins anew then.
func repairs() []repair {
	return []repair{
		{id: problem.PhonesNoLine, make: (*machine).writePhones},
		{id: problem.ConfigInvalid, doctor: true, choose: "init", fault: "systemctl stop sae-agent; mv /etc/sae-agent/config.yaml /root/", after: "mv /root/config.yaml /etc/sae-agent/; systemctl start sae-agent"},
		{id: problem.DaemonDown, doctor: true, fault: "systemctl stop sae-agent"},
		{id: problem.ConfigOutdated, fault: acceptedOnce},
		{id: problem.PortTaken, subject: "udp 69", doctor: true, choose: "systemctl", fault: "systemctl stop sae-agent; systemctl start tftpd-hpa; systemctl start sae-agent"},
		{id: problem.PortTaken, subject: "udp 69", doctor: true, choose: "takeover", fault: "systemctl stop sae-agent; systemctl start tftpd-hpa; systemctl start sae-agent", after: "systemctl unmask --quiet tftpd-hpa"},
		{id: problem.PartFailed, fault: "systemctl stop sae-agent; systemctl start tftpd-hpa; systemctl start sae-agent", before: "systemctl stop tftpd-hpa"},
		{id: problem.DiskFull, fault: smallDisk, after: "systemctl stop sae-agent; umount /var/cache/apt/archives; umount /var/lib/sae-agent; umount /mnt; systemctl start sae-agent"},
		{id: problem.JailsTrouble, fault: "systemctl stop fail2ban; systemctl mask --quiet fail2ban; systemctl restart sae-agent"},

		{id: problem.BackupFailed, fault: unmounted, before: "mount /srv/disk", told: true},
		{id: problem.ConfigNotApplied, choose: "apply", fault: editCarol},
		{id: problem.ConfigPending, choose: "confirm", fault: editBack + " && sae-agent apply --confirm 10m"},
		{id: problem.ConfigPending, choose: "rollback", fault: editCarol + " && sae-agent apply --confirm 10m", after: editBack},
		{id: problem.PhonesPending, choose: "approve", fill: []string{"MAC", stranger}, make: (*machine).strangerComes},
		{id: problem.PhoneAlert, subject: "00:15:65:00:00:01", make: (*machine).fileIsStolen},
		{id: problem.SecretKnown, subject: "102", fault: "sae-agent phones qr 102 >/dev/null && sae-agent phones remove 00:15:65:00:00:03"},
		{id: problem.LeftoverFiles, fault: "mkdir -p /tftpboot && cat > /tftpboot/001565000009.cfg <<'END'\n" + seedPhone + "END", then: "rm /tftpboot/001565000009.cfg"},
		{id: problem.PBXPaused, choose: "resume", fault: "sae-agent pbx pause 1h"},
		{id: problem.ServiceDown, subject: "fail2ban", fault: "systemctl stop fail2ban"},
		{id: problem.ForwardingClosed, fault: "nft add table ip filter && nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'", after: "nft delete table ip filter"},
		{id: problem.FirewallOther, choose: "takeover", fault: sangoma, after: "rm /usr/sbin/fwconsole"},
		{id: problem.SSHPassword, doctor: true, fault: "systemctl start ssh"},
		{id: problem.ResolverSilent, make: (*machine).resolver, before: `sed -i '/^wan:/a\  dns: [198.51.100.1]' /etc/sae-agent/config.yaml`},
		{id: problem.LinkTrouble, subject: "ens33", doctor: true, fault: "ip link set ens33 down"},
		{id: problem.CardManaged, subject: "ens34", doctor: true, choose: "takeover", fault: `rm /etc/NetworkManager/conf.d/90-sae-agent.conf; systemctl start NetworkManager
			nmcli connection add type ethernet ifname ens34 con-name phones ipv4.method manual ipv4.addresses 192.168.1.1/24 && nmcli connection up phones`},
	}
}

// unmounted has backups go to a disk that is not there.
const unmounted = `mkdir -p /srv/disk && echo 'tmpfs /srv/disk tmpfs noauto 0 0' >> /etc/fstab
	sed -i "1i backup: {dir: /srv/disk/backups, window: $(date -d '-1 hour' +%H:%M)-$(date -d '+2 hours' +%H:%M)}" /etc/sae-agent/config.yaml && sae-agent apply`

// sangoma is FreePBX's own firewall, as far as the agent sees it.
const sangoma = `printf '#!/bin/sh\n[ "$2" != disable ] || nft delete table ip sangoma\n' > /usr/sbin/fwconsole && chmod +x /usr/sbin/fwconsole
	nft add table ip sangoma && nft 'add chain ip sangoma fpbxfirewall'`

// notRun says of each kind of problem whose fix names a command why no row above runs it.
var notRun = map[problem.ID]string{
	problem.PartStuck:          "a fault of the program: agent/supervisor's tests make one, and the service is restarted by others here",
	problem.PartBehind:         "it is tried again by itself anyway: TestApplyWaits and its like in agent",
	problem.LeasesNotStored:    "df only shows; dhcpd/leasedb's tests fill the disk",
	problem.PhoneNotRegistered: "phones show only shows: TestFinalChecksOfTelephony in cmd/sae-agent",
	problem.PhoneRefused:       "needs an exchange and a phone that asks it: TestFinalChecksOfTelephony in cmd/sae-agent",
	problem.PBXAbsent:          "TestPBXInstall runs it, with a stand-in for Sangoma's installer",
	problem.PBXInstallFailed:   "TestPBXInstall runs it, with a stand-in for Sangoma's installer",
	problem.PBXUnseen:          "pbx status only shows",
	problem.PBXDown:            "needs an exchange: agent/pbx's tests with a real Asterisk",
	problem.PBXRestartDue:      "needs an exchange: agent/pbx's tests with a real Asterisk",
	problem.FreePBXOpen:        "needs a FreePBX: TestPBXInstall runs the same option",
	problem.FreePBXAddress:     "needs a FreePBX",
	problem.FreePBXNoAdmin:     "needs a FreePBX",
	problem.FreePBXRTPPorts:    "needs a FreePBX",
	problem.FirewallTrouble:    "firewall show only shows: the ruleset is put in force again by itself",
	problem.StackTrouble:       "needs Docker and images: agent/stacks's tests",
	problem.StackNote:          "needs Docker and images: agent/stacks's tests",
	problem.StackUpdateFailed:  "needs Docker and images: agent/stacks's tests",
	problem.GatewayMissing:     "stacks logs only shows",
	problem.ClockWrong:         "the container has the clock of the machine below it, which no test sets",
	problem.ClockAlone:         "the container has the clock of the machine below it, which no test sets",
}

// Whoever does what the fix of a problem says is rid of it. A problem that hurts is told to a webhook, and so is its end.
func TestEveryFixIsTrue(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.manage("ifupdown")
	m.install()
	m.sh(`sed -i '1i alerts: {webhook: {url: "http://` + webhook + `/"}, every: 1m}' /etc/sae-agent/config.yaml`)
	var told repair
	for _, r := range repairs() {
		if r.told {
			told = r
			m.sh(r.fault)
			continue
		}
		m.repair(r)
	}
	var a *alerts
	m.repair(repair{id: problem.AlertsNotDelivered, subject: "webhook", make: func(m *machine) {
		m.find(problem.AlertsNotDelivered, "webhook", false)
		a = m.receiveAlerts()
	}})
	a.wait(told.id, "firing")
	told.fault = ""
	m.repair(told)
	a.wait(told.id, "resolved")
}

// repair makes a fault, does what the fix of its problem says, and waits until the problem is gone.
func (m *machine) repair(r repair) {
	m.t.Helper()
	began := time.Now()
	m.sh(r.fault)
	if r.make != nil {
		r.make(m)
	}
	p := m.find(r.id, r.subject, r.doctor)
	m.sh(r.before)
	orders := commands(p.Fix)
	if r.choose != "" {
		orders = slices.DeleteFunc(orders, func(c string) bool { return !strings.Contains(c, r.choose) })
	}
	if len(orders) == 0 {
		m.t.Fatalf("%s: the fix %q has no command with %q", r.id, p.Fix, r.choose)
	}
	for _, c := range orders {
		m.write("/root/fix", strings.NewReplacer(r.fill...).Replace(c))
		m.sh("echo y | bash /root/fix")
	}
	m.sh(r.then)
	labtest.Eventually(m.t, func() error {
		list, err := m.problems(r.doctor)
		if i := index(list, r.id, p.Subject); err == nil && i >= 0 {
			err = fmt.Errorf("%s is still there after %q: %s", r.id, orders, list[i].What)
		}
		return err
	})
	m.sh(r.after)
	m.t.Logf("%s: %q mends it (%v)", r.id, orders, time.Since(began).Round(time.Second))
}

// find waits until the machine has a problem.
func (m *machine) find(id problem.ID, subject string, doctor bool) (found problem.Problem) {
	m.t.Helper()
	began := time.Now()
	for {
		list, err := m.problems(doctor)
		if i := index(list, id, subject); err == nil && i >= 0 {
			return list[i]
		}
		if time.Since(began) > 2*time.Minute {
			m.t.Fatalf("%s is not found: %v, %+v\n%s", id, err, list, m.journal())
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func index(list []problem.Problem, id problem.ID, subject string) int {
	return slices.IndexFunc(list, func(p problem.Problem) bool { return p.ID == id && (subject == "" || p.Subject == subject) })
}

// problems are those that the machine tells of.
func (m *machine) problems(doctor bool) (list []problem.Problem, err error) {
	if doctor {
		out, _ := m.try("sae-agent doctor --json 2>/dev/null") // its status tells of problems, too
		return list, json.Unmarshal([]byte(out), &list)
	}
	out, _ := m.try("sae-agent status --json 2>/dev/null")
	var st struct{ Problems []problem.Problem }
	err = json.Unmarshal([]byte(out), &st)
	return st.Problems, err
}

// fileIsStolen has a machine without a lease ask for a phone's file.
func (m *machine) fileIsStolen() {
	m.t.Helper()
	m.phonesBoot()
	thief := m.lab.Host("thief")
	m.lan.Plug(thief, "eth0")
	thief.Addr("eth0", "192.168.1.210/24")
	_ = thief.Command("curl", "-sS", "--max-time", "5", "tftp://192.168.1.1/001565000001.cfg").Run() // it is refused
}

// strangerComes powers a phone on that nobody knows.
func (m *machine) strangerComes() {
	_, _ = m.provision("stranger", `[{"mac": "001565000007", "model": "T42U", "extension": "107"}]`, "--timeout", "3s") // it gets no file
}

// resolver has the provider's machine answer for names.
func (m *machine) resolver() {
	m.provider.Start("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts", "--log-facility=-").WaitOutput("started")
}

// alerts are what a webhook was told.
type alerts struct {
	t  testing.TB
	in chan map[string]string // states, by the problem's ID
}

const webhook = "198.51.100.1:8080"

// receiveAlerts has the provider's machine take alerts.
func (m *machine) receiveAlerts() *alerts {
	m.t.Helper()
	a := &alerts{m.t, make(chan map[string]string, 100)}
	m.provider.Do(func() error {
		l, err := net.Listen("tcp", webhook)
		if err != nil {
			return err
		}
		m.t.Cleanup(func() { _ = l.Close() })
		go func() { _ = http.Serve(l, a) }()
		return nil
	})
	return a
}

func (a *alerts) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var body struct {
		Alerts []struct {
			Status string
			Labels map[string]string
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		a.t.Errorf("an alert that is none: %v", err)
	}
	states := make(map[string]string)
	for _, one := range body.Alerts {
		states[one.Labels["alertname"]] = one.Status
	}
	a.in <- states
}

// wait waits until the state of a problem was told.
func (a *alerts) wait(id problem.ID, state string) {
	a.t.Helper()
	late := time.After(5 * time.Minute)
	for {
		select {
		case states := <-a.in:
			if states[string(id)] == state {
				return
			}
		case <-late:
			a.t.Fatalf("nobody was told that %s is %s", id, state)
		}
	}
}

// program begins a command in a fix, quoted or not.
var program = regexp.MustCompile(`(?:^|[ ']|: )((?:sae-agent|systemctl|journalctl|apt-get|apt|nft|ip link|ifup|echo|timedatectl|chronyc|df|fail2ban-client|docker|iptables) )`)

// prose begins what a fix says of a command.
var prose = strings.Fields("stops keeps undoes runs shows says starts ends has lists gives tries brings make makes reads disables writes tells removes in and or when then is to")

// commands returns the commands in a fix.
func commands(fix string) (out []string) {
	for {
		at := program.FindStringSubmatchIndex(fix)
		if at == nil {
			return out
		}
		quoted := at[2] > 0 && fix[at[2]-1] == '\''
		fix = fix[at[2]:]
		c := fix[:end(fix, quoted)]
		out, fix = append(out, c), fix[len(c):]
	}
}

// word is one of a command, which may be quoted in part.
var word = regexp.MustCompile(`^ ?((?:'[^']*'|[^ '])+)`)

// end is where the command ends that a fix begins with.
func end(fix string, quoted bool) (n int) {
	if quoted {
		if n = strings.IndexByte(fix, '\''); n < 0 {
			n = len(fix)
		}
		return n
	}
	for {
		m := word.FindStringSubmatch(fix[n:])
		if m == nil || strings.HasPrefix(m[1], "(") || slices.Contains(prose, strings.TrimRight(m[1], ",;:")) {
			return n
		}
		n += len(m[0])
		if cut := strings.TrimRight(m[0], ",;:"); cut != m[0] {
			return n - len(m[0]) + len(cut)
		}
	}
}

func TestCommands(t *testing.T) {
	for fix, want := range map[string][]string{
		"sae-agent confirm keeps it, sae-agent rollback undoes it now":            {"sae-agent confirm", "sae-agent rollback"},
		"mend that; 'sae-agent backup create' tries again at once":                {"sae-agent backup create"},
		"nft 'chain ip filter FORWARD { policy accept; }': what must":             {"nft 'chain ip filter FORWARD { policy accept; }'"},
		"once it is there: echo 'a no\nb no' > /etc/x.conf; systemctl reload ssh": {"echo 'a no\nb no' > /etc/x.conf", "systemctl reload ssh"},
		"sae-agent extensions rotate 102 (nobody else has it)":                    {"sae-agent extensions rotate 102"},
		"look where the phone is; sae-agent phones rearm 00:15:65:00:00:01 ends":  {"sae-agent phones rearm 00:15:65:00:00:01"},
		"apt-get clean and journalctl --vacuum-size=100M make room at once":       {"apt-get clean", "journalctl --vacuum-size=100M"},
		"enlarge dhcp.range": nil,
	} {
		if got := commands(fix); !slices.Equal(got, want) {
			t.Errorf("commands(%q) = %q, want %q", fix, got, want)
		}
	}
}
