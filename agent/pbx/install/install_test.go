package install

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/takeover"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

func TestMain(m *testing.M) { lab.Main(m, func() error { return goleak.Find() }) }

// fake is a systemd whose installer writes its log as the test says.
type fake struct {
	did    []string
	jobs   []runner.Job // one after another; the last one stays
	onJob  func()       // at each poll of the job
	units  map[string]runner.UnitState
	prints map[string]string // by command line; what is not there fails
}

func (f *fake) note(format string, args ...any) { f.did = append(f.did, fmt.Sprintf(format, args...)) }

func (f *fake) Start(_ context.Context, c runner.Command, log string) error {
	f.note("start %s: %s %s %s", c.Name, filepath.Base(c.Argv[0]), filepath.Base(c.Argv[1]), strings.Join(c.Argv[2:], " "))
	return os.WriteFile(log, nil, 0o600)
}

func (f *fake) Job(context.Context, string) (runner.Job, error) {
	if f.onJob != nil {
		f.onJob()
	}
	j := f.jobs[0]
	if len(f.jobs) > 1 {
		f.jobs = f.jobs[1:]
	}
	return j, nil
}

func (f *fake) Run(_ context.Context, c runner.Command) (runner.Result, error) {
	out, ok := f.prints[strings.Join(c.Argv, " ")]
	if !ok {
		return runner.Result{Exit: 127, Stderr: []byte("not found")}, nil
	}
	return runner.Result{Stdout: []byte(out)}, nil
}

func (f *fake) ReloadManager(context.Context) error { f.note("reload systemd"); return nil }
func (f *fake) Reload(_ context.Context, unit string) error {
	f.note("reload %s", unit)
	return nil
}
func (f *fake) Mask(_ context.Context, unit string) error { f.note("mask %s", unit); return nil }
func (f *fake) Unmask(_ context.Context, unit string, _ bool) error {
	f.note("unmask %s", unit)
	return nil
}
func (f *fake) Retire(_ context.Context, unit string) error { f.note("retire %s", unit); return nil }
func (f *fake) Units(_ context.Context, names []string) (map[string]runner.UnitState, error) {
	out := make(map[string]runner.UnitState)
	for _, n := range names {
		if u, ok := f.units[n]; ok {
			out[n] = u
		}
	}
	return out, nil
}

const script = "#!/bin/bash\necho hello\n"

func newInstaller(t *testing.T, f *fake) (i Installer, steps *[]string) {
	t.Helper()
	steps = &[]string{}
	return Installer{
		System: f, Root: t.TempDir(), Dir: filepath.Join(t.TempDir(), "pbx"), FreePBX: true,
		AdminFrom: []netip.Prefix{netip.MustParsePrefix("192.168.1.50/32")},
		Progress:  func(line string) { *steps = append(*steps, line) },
	}, steps
}

func (i Installer) log(t *testing.T, text string) {
	t.Helper()
	f, err := os.OpenFile(i.path(logName), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// What must be in place is, before the installer runs; and its steps are reported.
func TestBeginAndFollow(t *testing.T) {
	f := &fake{jobs: []runner.Job{{Running: true}}, units: map[string]runner.UnitState{"apache2.service": {Active: true}}}
	i, steps := newInstaller(t, f)
	if err := i.Begin(t.Context(), []byte(script)); err != nil {
		t.Fatal(err)
	}
	want := []string{"reload systemd", "reload apache2.service", "start sae-agent-pbx-install: bash installer.sh --skipversion --opensourceonly"}
	if diff := cmp.Diff(want, f.did); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !i.Guard().There() {
		t.Error("FreePBX's first run is not guarded")
	}
	for path, mode := range map[string]os.FileMode{i.Dir: 0o700, i.path(scriptName): 0o700, i.path(logName): 0o600} {
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, fi, err)
		}
	}
	lines := []string{
		"2026-09-01 10:00:00 -   Starting FreePBX 17 installation\n2026-09-01 10:00:01 - Installing wge", "t ....\nnoise\n", "2026-09-01 10:30:00 - FreePBX 17 Installation finished successfully.\n",
	}
	f.jobs = []runner.Job{{Running: true}, {Running: true}, {}}
	f.onJob = func() { i.log(t, lines[0]); lines = lines[1:] }
	if err := i.Follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"10:00:00 Starting FreePBX 17 installation", "10:00:01 Installing wget ....", "10:30:00 FreePBX 17 Installation finished successfully."}, *steps); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestInstallerFails(t *testing.T) {
	f := &fake{jobs: []runner.Job{{Failed: true, Exit: 100}}}
	i, _ := newInstaller(t, f)
	i.FreePBX = false
	if err := i.Begin(t.Context(), []byte(script)); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(f.did, "start sae-agent-pbx-install: bash installer.sh --skipversion --opensourceonly --nofreepbx") || i.Guard().There() {
		t.Errorf("Asterisk alone: %q", f.did)
	}
	i.log(t, "2026-09-01 10:00:00 - Installing freepbx17 ....\nE: Unable to locate package freepbx17\n2026-09-01 10:00:01 - freepbx17 failed to install ....\n"+
		"Removing intermediate files\n2026-09-01 10:00:02 - Error at line: 812 exiting with code 100 (last command was: apt-get)\n2026-09-01 10:00:03 - Exiting script\n")
	const want = "the installer failed with status 100: E: Unable to locate package freepbx17 | freepbx17 failed to install .... | Error at line: 812 exiting with code 100 (last command was: apt-get)"
	if err := i.Follow(t.Context()); err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "run 'sae-agent pbx install' again") {
		t.Errorf("Follow: %v", err)
	}
	if got, err := i.Failure(t.Context()); got != want || err != nil {
		t.Errorf("Failure() = %q, %v", got, err)
	}
	f.jobs = []runner.Job{{}}
	if got, err := i.Failure(t.Context()); got != "" || err != nil {
		t.Errorf("it did not fail: %q, %v", got, err)
	}
}

// Every host that the script downloads from is reached before it begins.
func TestReach(t *testing.T) {
	i := Installer{FreePBX: true}
	hosts := i.Hosts([]byte("#!/bin/bash\n# see https://medium.com/x\nwget -O k https://packages.sury.org/php/apt.gpg\n  add-apt-repository \"deb http://deb.freepbx.org/freepbx17-prod bookworm main\"\n" +
		"wget http://deb.freepbx.org/gpg/key https://example.org:8443/x\n"))
	want := []string{"packages.sury.org:443", "deb.freepbx.org:80", "example.org:8443", "mirror.freepbx.org:80"}
	if diff := cmp.Diff(want, hosts); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
	dial := func(_ context.Context, _, addr string) (net.Conn, error) {
		if addr == "deb.freepbx.org:80" {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "deb.freepbx.org", IsNotFound: true}}
		}
		a, b := net.Pipe()
		b.Close()
		return a, nil
	}
	got := Reach(t.Context(), dial, hosts)
	if len(got) != 1 || !strings.HasSuffix(got[0].What, ": deb.freepbx.org:80: lookup deb.freepbx.org: no such host") {
		t.Errorf("%+v", got)
	}
	if got := Reach(t.Context(), dial, hosts[2:]); got != nil {
		t.Errorf("%+v", got)
	}
}

const modules = `+-------------+-----------+---------+---------+-----------+
| Module      | Version   | Status  | License | Signature |
+-------------+-----------+---------+---------+-----------+
| api         | 17.0.2    | Enabled | AGPLv3+ | Sangoma   |
| bulkhandler | 17.0.4    | Enabled | GPLv3+  | Sangoma   |
| core        | 17.0.18.4 | Enabled | GPLv3+  | Sangoma   |
| framework   | 17.0.19   | Enabled | GPLv2+  | Sangoma   |
| voicemail   | 17.0.5    | Enabled | GPLv3+  | Sangoma   |
+-------------+-----------+---------+---------+-----------+
`

// An installer that ends well may have done nothing.
func TestVerify(t *testing.T) {
	const query = "dpkg-query --show --showformat=${db:Status-Status} freepbx17"
	all := map[string]string{"asterisk -V": "Asterisk 22.5.2\n", query: "installed", "fwconsole ma list": modules}
	with := func(change map[string]string) map[string]string {
		out := make(map[string]string)
		for _, m := range []map[string]string{all, change} {
			for k, v := range m {
				if out[k] = v; v == "" {
					delete(out, k)
				}
			}
		}
		return out
	}
	for name, c := range map[string]struct {
		prints  map[string]string
		freepbx bool
		want    string
	}{
		"all is there":         {all, true, ""},
		"nothing is there":     {nil, true, "asterisk is not installed"},
		"half unpacked":        {with(map[string]string{query: "half-configured"}), true, "freepbx17 is not installed"},
		"fwconsole is broken":  {with(map[string]string{"fwconsole ma list": ""}), true, "cannot be listed"},
		"a module is disabled": {with(map[string]string{"fwconsole ma list": strings.Replace(modules, "17.0.4    | Enabled ", "17.0.4    | Disabled", 1)}), true, `bulkhandler is "Disabled"`},
		"a module is missing":  {with(map[string]string{"fwconsole ma list": strings.ReplaceAll(modules, "| api ", "| apx ")}), true, `api is "missing"`},
		"Asterisk alone":       {map[string]string{"asterisk -V": "Asterisk 22.5.2\n"}, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := Installer{System: &fake{prints: c.prints}, FreePBX: c.freepbx}.Verify(t.Context())
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("Verify() = %v, want %q", err, c.want)
			}
		})
	}
}

func TestPortIsGivenBack(t *testing.T) {
	f := &fake{units: map[string]runner.UnitState{"tftpd-hpa.service": {Enabled: true}}}
	i, _ := newInstaller(t, f)
	if err := i.keepPort(t.Context()); err != nil {
		t.Fatal(err)
	}
	record := filepath.Join(t.TempDir(), "takeover.json")
	if err := i.GivePortBack(t.Context(), takeover.Takeover{System: f, Root: i.Root, Record: record}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"reload systemd", "mask tftpd-hpa.service", "reload systemd"}, f.did); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(i.Root, conditionPath)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the condition is left: %v", err)
	}
	if data, err := os.ReadFile(record); err != nil || !strings.Contains(string(data), "tftpd-hpa.service") {
		t.Errorf("takeover --undo would not know: %s, %v", data, err)
	}
	if err := i.GivePortBack(t.Context(), takeover.Takeover{System: f, Root: i.Root, Record: record}); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestJudge(t *testing.T) {
	good := Machine{Architecture: "amd64", Codename: "bookworm", FQDN: "pbx.example.org", Memory: 4 * gib, DiskFree: 20 * gib}
	for name, c := range map[string]struct {
		change func(*Machine)
		want   string // beginning of severity and text; empty: nothing
	}{
		"good":           {func(*Machine) {}, ""},
		"trixie":         {func(m *Machine) { m.Codename = "trixie" }, `error this is Debian "trixie"`},
		"arm64":          {func(m *Machine) { m.Architecture = "arm64" }, "error Sangoma has packages for amd64 only"},
		"no name":        {func(m *Machine) { m.FQDN = "" }, "error the machine does not know its own name"},
		"1 GiB":          {func(m *Machine) { m.Memory = gib }, "error the machine has 1.0 GiB of memory"},
		"2 GiB":          {func(m *Machine) { m.Memory = 2*gib - gib/16 }, "warning the machine has 1.9 GiB"},
		"full disk":      {func(m *Machine) { m.DiskFree = gib }, "error 1.0 GiB are free"},
		"cut off":        {func(m *Machine) { m.HalfConfigured = "The following packages are only half configured" }, "error an earlier installation"},
		"no services":    {func(m *Machine) { m.NoServices = true }, "error /usr/sbin/policy-rc.d keeps packages"},
		"NetworkManager": {func(m *Machine) { m.NetworkManager = true }, "warning NetworkManager runs"},
		"nginx":          {func(m *Machine) { m.Busy = map[uint16]string{80: "nginx"} }, "error TCP port 80 is held by nginx"},
		"its own Apache": {func(m *Machine) { m.Busy = map[uint16]string{80: "apache2", 3306: "mariadbd", 5038: "asterisk"} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := good
			c.change(&m)
			var got []string
			for _, p := range Judge(m, true) {
				if got = append(got, string(p.Severity)+" "+p.What); p.Fix == "" {
					t.Errorf("no way out of %q", p.What)
				}
			}
			if (c.want == "") != (len(got) == 0) || len(got) > 1 || len(got) == 1 && !strings.HasPrefix(got[0], c.want) {
				t.Errorf("Judge() = %q, want %q", got, c.want)
			}
		})
	}
	if p := Judge(Machine{Architecture: "amd64", Codename: "bookworm", FQDN: "x", Memory: 2 * gib, DiskFree: 20 * gib, Busy: map[uint16]string{80: "nginx"}}, false); len(p) != 0 {
		t.Errorf("Asterisk alone: %+v", p)
	}
}

// Look at the machine that the tests run on.
func TestLook(t *testing.T) {
	i := Installer{System: &fake{prints: map[string]string{"dpkg --print-architecture": "amd64\n", "hostname -f": "pbx.example.org\n"}}, Root: "/"}
	m, err := i.Survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if m.Architecture != "amd64" || m.FQDN != "pbx.example.org" || m.Codename == "" || m.Memory < gib/8 || m.DiskFree == 0 {
		t.Errorf("Survey() = %+v", m)
	}
}

func TestScript(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/good":
			_, _ = w.Write([]byte(script))
		case "/page":
			_, _ = w.Write([]byte("<html>"))
		default:
			http.NotFound(w, r)
		}
	}))
	defer web.Close()
	client := web.Client()
	defer client.CloseIdleConnections()
	data, err := Fetch(t.Context(), client, web.URL+"/good")
	if err != nil || string(data) != script {
		t.Errorf("Fetch() = %q, %v", data, err)
	}
	for _, path := range []string{"/page", "/none"} {
		if _, err := Fetch(t.Context(), client, web.URL+path); err == nil {
			t.Errorf("%s was taken for an installer", path)
		}
	}
	if _, err := Read(strings.NewReader("#!/bin/bash\n" + strings.Repeat("x", maxScript))); err == nil {
		t.Error("an endless script was read")
	}
	if err := Approved([]byte(script), Sum([]byte(script))); err != nil {
		t.Error(err)
	}
	if err := Approved([]byte(script+"#"), Sum([]byte(script))); !errors.Is(err, ErrNotApproved) {
		t.Errorf("another script: %v", err)
	}
}

// firstPBX is a FreePBX that has admins or not.
type firstPBX struct {
	admins int
	set    []string
	err    error
}

func (p *firstPBX) Admins(context.Context) (int, error) { return p.admins, nil }
func (p *firstPBX) Set(_ context.Context, setting, value string) error {
	p.set = append(p.set, setting+"="+value)
	return p.err
}

func TestFirstRun(t *testing.T) {
	p, f := &firstPBX{}, &fake{}
	r := FirstRun{PBX: p, Guard: Guard{t.TempDir()}, Reload: f.Reload, Name: "sae303", Language: "fr", Timezone: "Europe/Paris"}
	expect := func(want Opening) {
		t.Helper()
		if got, err := r.Reconcile(t.Context()); got != want || err != nil {
			t.Errorf("Reconcile() = %q, %v; want %q", got, err, want)
		}
	}
	expect(OpeningOpen)
	if err := r.Guard.Put(nil); err != nil {
		t.Fatal(err)
	}
	expect(OpeningGuarded)
	if len(p.set)+len(f.did) > 0 {
		t.Errorf("before there is an administrator: %q, %q", p.set, f.did)
	}
	p.admins, p.err = 1, nil
	expect(OpeningDone)
	expect(OpeningDone)
	if diff := cmp.Diff([]string{"FREEPBX_SYSTEM_IDENT=sae303", "PHPTIMEZONE=Europe/Paris", "UIDEFAULTLANG=fr_FR"}, p.set); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if r.Guard.There() || cmp.Diff([]string{"reload apache2.service"}, f.did) != "" {
		t.Errorf("the door: there %v, %q", r.Guard.There(), f.did)
	}
	// A setting that fails keeps nobody out.
	p.err = errors.New("no such setting")
	if err := r.Guard.Put(nil); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Reconcile(t.Context()); got != OpeningDone || err == nil || r.Guard.There() {
		t.Errorf("Reconcile() = %q, %v", got, err)
	}
}
