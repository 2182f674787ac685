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
