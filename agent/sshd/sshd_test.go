package sshd

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

func write(t *testing.T, root, path, text string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPorts(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  []uint16
	}{
		"no server": {nil, []uint16{22}},
		"default":   {map[string]string{"sshd_config": "#Port 22\nPermitRootLogin no\n"}, []uint16{22}},
		"two":       {map[string]string{"sshd_config": "Port 2222\nport=22\nPort 2222\n"}, []uint16{22, 2222}},
		"included": {map[string]string{
			"sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\n", "sshd_config.d/a.conf": "Port \"2200\" # mine\n",
		}, []uint16{2200}},
		"relative":  {map[string]string{"sshd_config": "include more\n", "more": "ListenAddress [::]:2201\nListenAddress 192.0.2.1:2202\nListenAddress host:2203\nListenAddress ::1\n"}, []uint16{2201, 2202, 2203}},
		"circle":    {map[string]string{"sshd_config": "Include sshd_config\nPort 1\nMatch User x\nPort 2\n"}, []uint16{1}},
		"not ports": {map[string]string{"sshd_config": "Port 0\nPort 70000\nPort\nPort x\n"}, []uint16{22}},
	} {
		root := t.TempDir()
		for path, text := range test.files {
			write(t, root, "etc/ssh/"+path, text)
		}
		if got := Ports(root); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestPasswordLogin(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  bool
	}{
		"no server":      {nil, false},
		"default":        {map[string]string{"sshd_config": "#PasswordAuthentication no\n"}, true},
		"of Debian":      {map[string]string{"sshd_config": "KbdInteractiveAuthentication no\nUsePAM yes\n"}, true},
		"keys alone":     {map[string]string{"sshd_config": "ChallengeResponseAuthentication no\nPasswordAuthentication no\n"}, false},
		"half":           {map[string]string{"sshd_config": "PasswordAuthentication no\n"}, true},
		"the first wins": {map[string]string{"sshd_config": "Include sshd_config.d/*\nPasswordAuthentication yes\nKbdInteractiveAuthentication no\n", "sshd_config.d/a.conf": "passwordauthentication=no\n"}, false},
		"not for all":    {map[string]string{"sshd_config": "KbdInteractiveAuthentication no\nMatch User x\nPasswordAuthentication no\n"}, true},
	} {
		root := t.TempDir()
		for path, text := range test.files {
			write(t, root, "etc/ssh/"+path, text)
		}
		if got := PasswordLogin(root); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func record(kind uint16, addr ...byte) []byte {
	r := make([]byte, utmpSize)
	binary.NativeEndian.PutUint16(r, kind)
	copy(r[utmpAddr:], addr)
	return r
}

func TestOperators(t *testing.T) {
	root := t.TempDir()
	six := netip.MustParseAddr("2001:db8::7")
	utmp := slices.Concat(record(userProcess, 198, 51, 100, 1), record(userProcess), record(8, 198, 51, 100, 2), record(userProcess, six.AsSlice()...), []byte("torn"))
	write(t, root, "run/utmp", string(utmp))
	write(t, root, "run/systemd/sessions/1", "UID=0\nREMOTE=1\nREMOTE_HOST=198.51.100.9\nSTATE=active\n")
	write(t, root, "run/systemd/sessions/2", "REMOTE_HOST=198.51.100.10\nSTATE=closing\n")
	write(t, root, "run/systemd/sessions/3", "STATE=online\n")
	if err := syscall.Mkfifo(filepath.Join(root, "run/systemd/sessions/1.ref"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.9"), six}
	if got := Operators(root); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := Operators(t.TempDir()); len(got) != 0 {
		t.Errorf("nobody: %v", got)
	}
}

func FuzzUtmp(f *testing.F) {
	f.Add(record(userProcess, 198, 51, 100, 1), "REMOTE_HOST=::1%x\n")
	f.Fuzz(func(t *testing.T, data []byte, session string) {
		for _, a := range parseUtmp(data) {
			if !a.IsValid() || a.IsUnspecified() {
				t.Errorf("%v is nobody's address", a)
			}
		}
		if a, ok := parseSession(session); ok && (!a.IsValid() || a.Zone() != "") {
			t.Errorf("%q: %v", session, a)
		}
	})
}

// procTCP is /proc/net/tcp with sessions from the LAN and from outside, a listener, one
// that is closing, one of the machine to itself, and one to another port.
const procTCP = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 326433C6:0016 016433C6:D431 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
   2: 0101A8C0:0016 0501A8C0:D431 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 100 0 0 10 0
   3: 326433C6:0016 096433C6:D431 06 00000000:00000000 00:00000000 00000000     0        0 4 1 0 100 0 0 10 0
   4: 0100007F:0016 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 5 1 0 100 0 0 10 0
   5: 326433C6:1538 016433C6:D432 01 00000000:00000000 00:00000000 00000000     0        0 6 1 0 100 0 0 10 0
`

func TestSessions(t *testing.T) {
	outside := Connection{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddrPort("198.51.100.50:22")}
	desk := Connection{netip.MustParseAddr("192.168.1.5"), netip.MustParseAddrPort("192.168.1.1:22")}
	const underSSH = "Name:\tsae-agent\nPPid:\t2\n"
	for name, test := range map[string]struct {
		files map[string]string
		pid   int
		want  []Connection
	}{
		"nobody is logged in": {nil, 0, nil},
		"somebody is":         {map[string]string{"run/systemd/sessions/7": "REMOTE_HOST=198.51.100.1\nSTATE=active\n"}, 0, []Connection{outside}},
		"the caller is at the console, a stranger holds a connection": {map[string]string{"proc/9/status": "Name:\tsae-agent\nPPid:\t1\n"}, 9, nil},
		"the caller's login is known": {map[string]string{
			"proc/9/status": underSSH, "proc/9/cgroup": "0::/user.slice/user-0.slice/session-7.scope\n",
			"run/systemd/sessions/7": "REMOTE_HOST=192.168.1.5\nSTATE=active\n",
		}, 9, []Connection{desk}},
		"the caller's login is not known": {map[string]string{"proc/9/status": underSSH}, 9, []Connection{outside, desk}},
		"somebody else's is": {map[string]string{
			"proc/9/status": underSSH, "run/systemd/sessions/7": "REMOTE_HOST=192.168.1.5\nSTATE=active\n",
		}, 9, []Connection{outside, desk}},
		"the caller is gone": {nil, 9, nil},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			write(t, root, "proc/self/net/tcp", procTCP)
			write(t, root, "proc/2/status", "Name:\tsshd\nPPid:\t1\n")
			write(t, root, "proc/1/status", "Name:\tsystemd\nPPid:\t0\n")
			for path, text := range test.files {
				write(t, root, path, text)
			}
			got, err := Sessions(root, test.pid)
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("%v, %v, want %v", got, err, test.want)
			}
		})
	}
}
