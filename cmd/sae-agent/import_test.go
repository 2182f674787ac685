package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const beforeImport = `# written by the package
wan: {interface: ens33}
lan: {interface: ens34, address: 192.168.1.1/24}
dhcp: {range: 192.168.1.10-192.168.1.100}
firewall: {wan_allow: [ssh]}
extensions: [{number: "100", name: Alice}]
`

// importInto runs import with a file that exists, and answers its question.
func importInto(t *testing.T, path, answer string, args ...string) (said string, err error) {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "dhcpd.conf")
	text := "subnet 192.168.1.0 netmask 255.255.255.0 { range 192.168.1.20 192.168.1.99; option domain-name \"office.example\"; max-lease-time 7; }\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	root := newRootCommand()
	root.SetArgs(append([]string{"import", "--config", path, "--dhcpd-conf", conf, "--tftp-root", ""}, args...))
	root.SetIn(strings.NewReader(answer))
	root.SetOut(&out)
	root.SetErr(&out)
	err = root.ExecuteContext(t.Context())
	return out.String(), err
}

// After installation there is a file: import shows what would change in it, and changes it only when it is told to.
func TestImportMergesAndAsks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(beforeImport), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	said, err := importInto(t, path, "n\n")
	if err == nil || read(path) != beforeImport {
		t.Errorf("it was changed without consent: %v\n%s", err, said)
	}
	for _, want := range []string{"+ dhcp.domain: office.example", "~ dhcp.range: 192.168.1.10-192.168.1.100 -> 192.168.1.20-192.168.1.99", "max-lease-time 7: is not taken over", "[y/N]"} {
		if !strings.Contains(said, want) {
			t.Errorf("nothing is said of %q:\n%s", want, said)
		}
	}
	if said, err := importInto(t, path, "", "--yes"); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	now := read(path)
	for _, want := range []string{"office.example", "wan_allow: [ssh]", `{number: "100", name: Alice}`, "interface: ens34"} {
		if !strings.Contains(now, want) {
			t.Errorf("the file lacks %q:\n%s", want, now)
		}
	}
	if read(path+".old") != beforeImport {
		t.Error("the former content is lost")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("another mode than before: %v, %v", info.Mode(), err)
	}
	if said, err := importInto(t, path, "", "--yes"); err != nil || !strings.Contains(said, "says all of that already") {
		t.Errorf("imported twice: %v\n%s", err, said)
	}
}
