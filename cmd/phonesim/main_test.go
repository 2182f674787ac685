package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func TestMain(m *testing.M) {
	lab.Main(m, func() error { return goleak.Find() })
}

// site is a LAN with a server, the phones' card and a folder of files.
type site struct {
	t      *testing.T
	lan    *labtest.Switch
	server *labtest.Host
	phones *labtest.Host
	root   string
	lab    *labtest.Lab
}

func newSite(t *testing.T) *site {
	t.Helper()
	l := labtest.New(t)
	s := &site{t: t, lan: l.Switch("lan"), server: l.Host("server"), phones: l.Host("phones"), root: t.TempDir(), lab: l}
	s.lan.Plug(s.server, "eth0")
	s.lan.Plug(s.phones, "eth0")
	s.server.Addr("eth0", "192.168.0.1/20")
	if err := os.Chmod(s.root, 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

// host plugs another machine into the LAN.
func (s *site) host(name string) *labtest.Host {
	s.t.Helper()
	h := s.lab.Host(name)
	s.lan.Plug(h, "eth0")
	return h
}

// dnsmasq starts a DHCP and TFTP server.
func (s *site) dnsmasq(args ...string) *labtest.Process {
	s.t.Helper()
	p := s.server.Start("dnsmasq", append([]string{
		"--conf-file=/dev/null", "--keep-in-foreground", "--user=root", "--pid-file", "--log-facility=-", "--log-dhcp", "--no-ping",
		"--no-resolv", "--no-hosts", "--interface=eth0", "--bind-interfaces", "--dhcp-range=192.168.0.10,192.168.15.250,255.255.240.0,1h",
		"--dhcp-leasefile=" + filepath.Join(s.t.TempDir(), "leases"), "--dhcp-lease-max=5000",
		"--enable-tftp", "--tftp-root=" + s.root, "--tftp-max=2000",
	}, args...)...)
	p.WaitOutput("DHCP, IP range")
	return p
}

// inventory writes an inventory of n phones and the files that they will ask for.
func (s *site) inventory(n int) string {
	s.t.Helper()
	var list []map[string]string
	for i := range n {
		mac, extension := fmt.Sprintf("001565%06x", i+1), fmt.Sprint(1000+i)
		list = append(list, map[string]string{"mac": mac, "model": "T42U", "extension": extension})
		s.file(mac+".cfg", account(extension))
	}
	data, err := json.Marshal(list)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.write("inventory.json", string(data))
}

// write writes a file that the phones do not see.
func (s *site) write(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// file puts a file where the phones look for it.
func (s *site) file(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.root, name), []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) remove(name string) {
	s.t.Helper()
	if err := os.Remove(filepath.Join(s.root, name)); err != nil {
		s.t.Fatal(err)
	}
}

// account is a file that gives its phone a line.
func account(extension string) string {
	return fmt.Sprintf("#!version:1.0.0.1\naccount.1.enable = 1\naccount.1.user_name = %[1]s\naccount.1.auth_name = %[1]s\n"+
		"account.1.password = secret-of-%[1]s\naccount.1.sip_server.1.address = 192.168.0.1\n", extension)
}

// phonesim runs the command on the phones' card.
func (s *site) phonesim(args ...string) (status int, stdout, stderr string) {
	s.t.Helper()
	var out, errs bytes.Buffer
	s.phones.Do(func() error {
		status = run(s.t.Context(), append([]string{"--interface", "eth0"}, args...), &out, &errs)
		return nil
	})
	return status, out.String(), errs.String()
}
