package main

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// The main job: a phone that was just plugged in gets its address with option 66,
// and its own file from there. Nobody else gets that file.
func TestPhoneGetsItsFileAndNobodyElse(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, siteConfig)
	a.write("root/ring.wav", "riff")
	a.write("root/001565000001.cfg", "account.1.password = left-by-hand\n")
	a.write("root/y000000000116.cfg", "left by hand\n")
	alice := a.phone("alice", aliceMAC)
	if lease := alice.Run("cat", "/var/lib/dhclient.leases"); !strings.Contains(lease, `option tftp-server-name "tftp://192.168.1.1"`) {
		t.Errorf("no option 66:\n%s", lease)
	}
	for _, name := range []string{"001565000001.cfg", "001565000001.CFG"} {
		file, failure := alice.tftp(name)
		for _, want := range []string{"#!version:1.0.0.1\n", "account.1.user_name = 100\n", "account.1.password = needle-secret-alice\n", "account.1.sip_server.1.address = 192.168.1.1\n"} {
			if !strings.Contains(file, want) {
				t.Errorf("%s lacks %q: %s\n%s", name, want, failure, file)
			}
		}
	}
	if file, status := alice.http("001565000001.cfg"); status != "200" || !strings.Contains(file, "needle-secret-alice") {
		t.Errorf("over HTTP: %s\n%s", status, file)
	}
	for name, want := range map[string]string{
		"001565000001.boot": "Error code 1", "y000000000000.boot": "Error code 1", "missing": "Error code 1", "../state/secrets.json": "Error code 2",
	} {
		if file, failure := alice.tftp(name); !strings.Contains(failure, want) {
			t.Errorf("%s: %q %q, want %q", name, file, failure, want)
		}
	}
	if file, failure := alice.tftp("ring.wav"); file != "riff" {
		t.Errorf("the operator's own file: %q %s", file, failure)
	}
	if file, _ := alice.tftp("y000000000116.cfg"); file != "#!version:1.0.0.1\n" {
		t.Errorf("the common file: %q", file)
	}

	bob := a.phone("bob", bobMAC)
	if file, failure := bob.tftp("001565000001.cfg"); !strings.Contains(failure, "Error code 2") {
		t.Errorf("another phone got Alice's file over TFTP: %q %q", file, failure)
	}
	if file, status := bob.http("001565000001.cfg"); status != "403" || strings.Contains(file, "needle") {
		t.Errorf("another phone got Alice's file over HTTP: %s %q", status, file)
	}
	out, _ := a.run("status", "--json") // an alert and left files: all is not well, but works
	if !strings.Contains(out, "refused") || !strings.Contains(out, "001565000001.cfg") {
		t.Errorf("status says nothing of the refusal or of the file in the root:\n%s", out)
	}
	labtest.Eventually(t, func() error {
		var st control.Status
		a.query(&st, "status")
		if !st.DHCP.Serving || st.Phones["provisioned"] != 1 || len(st.Network) != 2 || len(st.Network[0].DNS) != 1 {
			return fmt.Errorf("status: %+v", st)
		}
		return nil
	})
	if book := alice.Run("curl", "-sS", "http://192.168.1.1:9303/phonebook.xml"); !strings.Contains(book, "<Name>Carol</Name>") {
		t.Errorf("phonebook: %s", book)
	}
	metrics := alice.Run("curl", "-sS", "http://192.168.1.1:9303/metrics")
	for _, want := range []string{`sae_phone_files_total{kind="phone",outcome="denied"} 2`, `sae_phones{state="provisioned"} 1`, `sae_part_up{part="dhcp"} 1`, "sae_dhcp_serving 1"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

// An unknown phone waits, is approved, and has its line without a restart.
func TestApproveAnUnknownPhone(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, siteConfig)
	p := a.phone("stranger", strangerMAC)
	if file, _ := p.tftp("001565000099.cfg"); !strings.Contains(file, "repeat.minutes = 1") || strings.Contains(file, "account") {
		t.Fatalf("pending file: %q", file)
	}
	if _, status := p.http("001565000099.cfg"); status != "200" { // the User-Agent tells its model
		t.Errorf("pending over HTTP: %s", status)
	}
	var found control.Phone
	a.query(&found, "phones", "show", strangerMAC)
	if found.State != "pending" || found.Model != "T54W" || found.Address == "" || found.FirstSeen.IsZero() {
		t.Errorf("%+v", found)
	}
	if out, status := a.run("phones", "approve", strangerMAC, "--extension", "100"); status != exitFailed || !strings.Contains(out, "phones replace "+aliceMAC) {
		t.Errorf("status %d: %s", status, out)
	}
	if out := a.must("phones", "approve", strangerMAC, "--dry-run"); !strings.Contains(out, "+ extensions[103]") || !strings.Contains(out, "Nothing was changed") {
		t.Errorf("dry run: %s", out)
	}
	if out := a.must("phones", "approve", strangerMAC, "--extension", "102"); !strings.Contains(out, "model T54W") && !strings.Contains(out, "T54W") {
		t.Errorf("approved: %s", out)
	}
	if file, failure := p.tftp("001565000099.cfg"); !strings.Contains(file, "account.1.user_name = 102\n") || !strings.Contains(file, "account.1.password = ") {
		t.Errorf("approved: %s %q", failure, file)
	}
	link := a.must("phones", "qr", "102")
	i := strings.Index(link, "http://")
	if i < 0 {
		t.Fatalf("no link: %s", link)
	}
	url, _, _ := strings.Cut(link[i:], "\n")
	if file := p.Run("curl", "-sS", url); !strings.Contains(file, "sip:102@192.168.1.1") {
		t.Errorf("softphone: %s", file)
	}
	if out := p.Run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", url); out != "404" {
		t.Errorf("the link works twice: %s", out)
	}
}

// A file with errors changes nothing; a good one is taken over while all runs.
func TestApply(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, siteConfig)
	alice := a.phone("alice", aliceMAC)
	a.edit(`name: Bob`, `nmae: Bob`)
	if out, status := a.run("apply"); status != exitFailed || !strings.Contains(out, "config.yaml:11:") || !strings.Contains(out, "did you mean name") {
		t.Errorf("status %d: %s", status, out)
	}
	if out, _ := a.run("status"); !strings.Contains(out, "could not be applied") {
		t.Errorf("status: %s", out)
	}
	a.edit(`nmae: Bob`, `name: Robert`)
	a.edit(`extension: "101"}`, "extension: \"101\"}\n  - {mac: \""+strangerMAC+`", model: T46S, extension: "102"}`)
	if out := a.must("plan"); !strings.Contains(out, "Bob -> Robert") || !strings.Contains(out, strangerMAC) {
		t.Errorf("plan: %s", out)
	}
	before := len(a.process.Output())
	a.must("apply")
	if out := a.must("apply"); !strings.Contains(out, "Nothing changed") {
		t.Errorf("a second apply: %s", out)
	}
	if file, _ := alice.tftp("001565000001.cfg"); !strings.Contains(file, "linekey.2.label = Robert") {
		t.Errorf("not applied: %s", file)
	}
	stranger := a.phone("stranger", strangerMAC)
	if file, _ := stranger.tftp("001565000099.cfg"); !strings.Contains(file, "account.1.user_name = 102") {
		t.Errorf("the new phone: %s", file)
	}
	if restarts := strings.Count(a.process.Output()[before:], "sae-agent runs"); restarts != 0 {
		t.Error("the daemon was restarted")
	}
	// A daemon that starts again runs what was applied, not what the file says now.
	a.write("config.yaml", "broken: [")
	_ = a.process.Kill()
	a.start()
	if file, _ := alice.tftp("001565000001.cfg"); !strings.Contains(file, "linekey.2.label = Robert") {
		t.Errorf("after a crash: %s", file)
	}
}

// No secret shows anywhere but in the phones' files, the configuration and the
// state, which only root reads.
func TestSecretsDoNotLeak(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, siteConfig)
	alice := a.phone("alice", aliceMAC)
	bob := a.phone("bob", bobMAC)
	_, _ = alice.tftp("001565000001.cfg")
	file, _ := bob.tftp("001565000002.cfg")
	_, generated, _ := strings.Cut(file, "account.1.password = ")
	generated, _, _ = strings.Cut(generated, "\n")
	if len(generated) < 20 {
		t.Fatalf("no generated secret: %s", file)
	}
	needles := []string{"needle-secret-alice", "needle-admin-password", "needle-new-secret", generated}
	a.edit("needle-secret-alice", "needle-new-secret")
	places := map[string]string{}
	for _, args := range [][]string{
		{"plan"}, {"apply"}, {"status"}, {"status", "--json"}, {"phones"}, {"phones", "--json"}, {"phones", "show", aliceMAC, "--json"},
		{"leases", "--json"}, {"check", "--config", a.path("config.yaml")}, {"version"}, {"rollback", "--list"},
		{"doctor", "--config", a.path("config.yaml"), "--state-dir", a.path("state")}, {"phones", "resync", aliceMAC}, {"phones", "rearm", aliceMAC},
	} {
		places[strings.Join(args, " ")], _ = a.run(args...)
	}
	a.edit(`secret: "needle-new-secret"`, `secret: "needle-new-secret", secret: "needle-new-secret"`)
	places["an error of check"], _ = a.run("check", "--config", a.path("config.yaml"))
	places["an error of apply"], _ = a.run("apply")
	places["metrics"] = alice.Run("curl", "-sS", "http://192.168.1.1:9303/metrics")
	places["log"] = a.process.Output()
	for name, text := range readAll(t, "/proc", "cmdline", "environ") {
		places[name] = text
	}
	for name, text := range readAll(t, a.path("run")) {
		places[name] = text
	}
	for name, text := range readAll(t, a.path("tmp")) {
		places[name] = text
	}
	for name, text := range places {
		for _, n := range needles {
			if strings.Contains(text, n) {
				t.Errorf("%s shows %s", name, n)
			}
		}
	}
	if len(places) < 20 {
		t.Errorf("only %d places were looked at", len(places))
	}
	for name, mode := range map[string]fs.FileMode{"state": 0o700, "state/secrets.json": 0o600, "state/leases.db": 0o600, "state/configs": 0o700} {
		info, err := os.Stat(a.path(name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v, want %v", name, info.Mode(), err, mode)
		}
	}
}

// readAll reads the small files below a directory; with names, only those.
func readAll(t *testing.T, dir string, names ...string) map[string]string {
	out := make(map[string]string)
	walk := func(path string, d fs.DirEntry, err error) error {
		depth := strings.Count(strings.TrimPrefix(path, dir), "/")
		if err != nil || d.IsDir() {
			if d != nil && d.IsDir() && depth >= 2 {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		wanted := len(names) == 0
		for _, n := range names {
			wanted = wanted || d.Name() == n
		}
		if err != nil || !info.Mode().IsRegular() || !wanted || info.Size() > 1<<20 {
			return nil
		}
		if data, err := os.ReadFile(path); err == nil {
			out[path] = string(data)
		}
		return nil
	}
	if err := filepath.WalkDir(dir, walk); err != nil {
		t.Fatal(err)
	}
	return out
}

// Files over HTTPS are under the same rules. The certificate is made once.
func TestFilesOverHTTPS(t *testing.T) {
	t.Parallel()
	https := strings.Replace(siteConfig, "root: ROOT", `root: ROOT, url: "https://192.168.1.1:9443/phones"`, 1)
	a := newAppliance(t, https+"http: {listen: [192.168.1.1:9303, 192.168.1.1:9443]}\n")
	a.write("root/ring.wav", "riff")
	alice, bob := a.phone("alice", aliceMAC), a.phone("bob", bobMAC)
	if lease := alice.Run("cat", "/var/lib/dhclient.leases"); !strings.Contains(lease, `"https://192.168.1.1:9443/phones"`) {
		t.Errorf("option 66:\n%s", lease)
	}
	get := func(p phone, name string) string {
		ca := filepath.Join(a.dir, "state/tls/ca.pem")
		return p.Run("curl", "-sS", "--cacert", ca, "-w", "%{http_code}", "https://192.168.1.1:9443/phones/"+name)
	}
	if file := get(alice, "001565000001.cfg"); !strings.Contains(file, "needle-secret-alice") {
		t.Errorf("its own file: %s", file)
	}
	if file := get(bob, "001565000001.cfg"); !strings.HasSuffix(file, "403") || strings.Contains(file, "needle") {
		t.Errorf("another phone's file: %s", file)
	}
	if file := get(alice, "ring.wav"); file != "riff200" {
		t.Errorf("the operator's own file: %s", file)
	}
	before, err := os.ReadFile(a.path("state/tls/cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	_ = a.process.Kill()
	a.start()
	if after, err := os.ReadFile(a.path("state/tls/cert.pem")); err != nil || string(after) != string(before) {
		t.Errorf("another certificate after a restart: %v", err)
	}
}

// With secrets once, the file has no password any more after the phone's first
// registration with an exchange on the appliance, until it is rearmed.
func TestSecretsOnce(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, strings.Replace(siteConfig, "root: ROOT", "root: ROOT, secrets: once", 1))
	alice := a.phone("alice", aliceMAC)
	if file, _ := alice.tftp("001565000001.cfg"); !strings.Contains(file, "needle-secret-alice") {
		t.Fatalf("before: %s", file)
	}
	addr := alice.address()
	accepted := "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP " + addr + ";branch=z9hG4bK1\r\nFrom: <sip:100@192.168.1.1>;tag=1\r\n" +
		"To: <sip:100@192.168.1.1>;tag=2\r\nCall-ID: a\r\nCSeq: 2 REGISTER\r\nContact: <sip:100@" + addr + ">;expires=600\r\nContent-Length: 0\r\n\r\n"
	labtest.Eventually(t, func() error {
		a.host.Do(func() error { // the exchange's answer
			conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IP{192, 168, 1, 1}, Port: 5060}, &net.UDPAddr{IP: net.ParseIP(addr), Port: 5060})
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.Write([]byte(accepted))
			return err
		})
		if file, _ := alice.tftp("001565000001.cfg"); strings.Contains(file, "needle") || !strings.Contains(file, "account.1.user_name = 100") {
			return fmt.Errorf("after the registration: %s", file)
		}
		return nil
	})
	a.must("phones", "rearm", aliceMAC)
	if file, _ := alice.tftp("001565000001.cfg"); !strings.Contains(file, "needle-secret-alice") {
		t.Errorf("rearmed: %s", file)
	}
}

// Where another server gives the addresses, the neighbour table tells who asks.
func TestFilesBesideAnotherDHCPServer(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, strings.Replace(siteConfig, "dhcp: {range: 192.168.1.10-192.168.1.100, force: true}", "dhcp: {enabled: false}", 1))
	h := a.lab.Host("alice")
	a.lan.Plug(h, "eth0")
	h.SetMAC("eth0", aliceMAC)
	h.Addr("eth0", "192.168.1.50/24")
	alice := phone{h, t}
	labtest.Eventually(t, func() error {
		if file, failure := alice.tftp("001565000001.cfg"); !strings.Contains(file, "needle-secret-alice") {
			return fmt.Errorf("no file: %s", failure)
		}
		return nil
	})
	if _, failure := alice.tftp("001565000002.cfg"); !strings.Contains(failure, "Error code 2") {
		t.Errorf("another phone's file: %q", failure)
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"nonsense"}, exitUsage, "--help"},
		{[]string{"leases", "extra"}, exitUsage, "--help"},
		{[]string{"status", "--runtime-dir", "/nonexistent"}, exitFailed, "sae-agent"},
		{[]string{"check", "--config", "/nonexistent"}, exitFailed, "sae-agent init"},
		{[]string{"version"}, exitOK, "sae-agent"},
		{[]string{"completion", "bash"}, exitOK, "__start_sae-agent"},
		{[]string{"init", "--config", "/proc/self/status"}, exitFailed, ""},
	} {
		var out strings.Builder
		if status := execute(t.Context(), c.args, &out, &out); status != c.status || !strings.Contains(out.String(), c.want) {
			t.Errorf("%q: status %d, want %d:\n%s", c.args, status, c.status, out.String())
		}
	}
}

func TestCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.WriteFile(path, []byte(strings.Replace(siteConfig, "ROOT", root, 1)), 0o600),
		os.WriteFile(filepath.Join(root, "001565AABBCC.cfg"), []byte("x"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	if status := execute(t.Context(), []string{"check", "--config", path}, &out, &out); status != exitOK || !strings.Contains(out.String(), "001565AABBCC.cfg has a phone's name") {
		t.Errorf("status %d:\n%s", status, out.String())
	}
}
