package phones_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
	"github.com/sae-agent/sae-agent/internal/golden"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

var (
	alicePhone = mac("00:15:65:00:00:01") // named in the configuration
	stranger   = mac("00:15:65:00:00:99") // a Yealink phone that is not
	laptop     = mac("02:00:00:00:00:01")
)

// office is a service with a LAN that the test decides about.
type office struct {
	*phones.Service
	t      *testing.T
	now    time.Time
	leases map[netip.Addr]net.HardwareAddr
	frames map[netip.Addr][]net.HardwareAddr // whose frames come from an address, where it is not who leases it
	path   string
	change int
	adopt  []string
}

func newOffice(t *testing.T, change func(*phones.Config)) *office {
	o := &office{
		t: t, now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC), path: filepath.Join(t.TempDir(), "phones.json"),
		leases: map[netip.Addr]net.HardwareAddr{addr("10"): alicePhone, addr("99"): stranger, addr("50"): laptop},
	}
	o.open(change)
	return o
}

func addr(last string) netip.Addr { return netip.MustParseAddr("192.168.1." + last) }

// config is that of the office, changed.
func (o *office) config(change func(*phones.Config)) phones.Config {
	cfg := phones.Config{
		Site: yealink.Site{
			Server: addr("1"), Port: 5060, Transport: "udp", Codecs: []string{"pcma"}, Voicemail: "*97", Language: "fr",
			Zone: time.UTC, ProvisioningURL: "tftp://192.168.1.1", AdminPassword: "an-admin-password",
		},
		Extensions: []yealink.Account{
			{Number: "100", Name: "Alice", Secret: "secret-of-alice", Voicemail: true}, {Number: "101", Name: "Bob", Secret: "secret-of-bob-1"},
			{Number: "102", Name: "Chloé", Secret: "secret-of-chloe"},
		},
		Phones: []phones.Phone{{MAC: alicePhone, Model: "T42U", Extension: "100"}}, Unknown: phones.Approve,
		SoftphoneURL: "http://192.168.1.1:9303/softphone/",
	}
	if change != nil {
		change(&cfg)
	}
	return cfg
}

func (o *office) open(change func(*phones.Config)) {
	o.t.Helper()
	s, err := phones.New(o.t.Context(), o.config(change), phones.Deps{
		LeasedTo: func(a netip.Addr) (net.HardwareAddr, bool) { m, ok := o.leases[a]; return m, ok },
		Store:    phones.FileStore{Path: o.path}, Logger: slog.New(slog.NewTextHandler(o.t.Output(), nil)),
		Now: func() time.Time { return o.now }, OnChange: func() { o.change++ },
		Adopt: func(m net.HardwareAddr) { o.adopt = append(o.adopt, m.String()) },
	})
	if err != nil {
		o.t.Fatal(err)
	}
	o.Service = s
}

func (o *office) get(from, name string) (string, error) {
	stations, ok := o.frames[addr(from)]
	if m := o.leases[addr(from)]; m != nil && !ok {
		stations = []net.HardwareAddr{m}
	}
	b, err := o.Open(o.t.Context(), phones.Request{Client: addr(from), Stations: stations, Name: name, Transport: "tftp"})
	return string(b), err
}

func (o *office) status(m net.HardwareAddr) phones.Status {
	o.t.Helper()
	st, err := o.Get(m)
	if err != nil {
		o.t.Fatal(err)
	}
	return st
}

// A phone's file is given to the address that leases its MAC, and to nobody else.
func TestOnlyThePhoneGetsItsFile(t *testing.T) {
	o := newOffice(t, nil)
	o.frames = map[netip.Addr][]net.HardwareAddr{addr("77"): {laptop}}
	for name, c := range map[string]struct {
		from, file string
		err        error
		has        string
	}{
		"its own":               {"10", "001565000001.cfg", nil, "account.1.password = secret-of-alice"},
		"its own, upper case":   {"10", "001565000001.CFG", nil, "account.1.user_name = 100"},
		"another phone's":       {"99", "001565000001.cfg", fs.ErrPermission, ""},
		"a laptop's request":    {"50", "001565000001.cfg", fs.ErrPermission, ""},
		"no lease":              {"77", "001565000001.cfg", fs.ErrPermission, ""},
		"with folders":          {"99", "x/../001565000001.cfg", fs.ErrPermission, ""},
		"a boot file":           {"10", "001565000001.boot", fs.ErrNotExist, ""},
		"the common boot file":  {"10", "y000000000000.boot", fs.ErrNotExist, ""},
		"its common file":       {"10", "y000000000116.cfg", nil, "#!version:1.0.0.1\n"},
		"an unknown common one": {"10", "y000000009999.cfg", fs.ErrNotExist, ""},
		"local settings":        {"10", "001565000001-local.cfg", fs.ErrNotExist, ""},
		"firmware":              {"10", "T42U-108.86.0.75.rom", phones.ErrNotMine, ""},
		"an approved one's":     {"99", "001565000099.cfg", nil, "repeat.minutes = 1"},
		"a laptop's own":        {"50", "020000000001.cfg", fs.ErrPermission, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := o.get(c.from, c.file)
			if !errors.Is(err, c.err) || !strings.Contains(got, c.has) {
				t.Errorf("got %q, %v", got, err)
			}
			if c.err != nil && got != "" {
				t.Errorf("an error and %q", got)
			}
		})
	}
	if st := o.status(alicePhone); !strings.Contains(st.Alert, "refused") || st.State != phones.StateProvisioned {
		t.Errorf("status: %+v", st)
	}
}

func TestApproveAnUnknownPhone(t *testing.T) {
	o := newOffice(t, nil)
	if _, err := o.get("99", "y000000000096.cfg"); err != nil { // shows its model
		t.Fatal(err)
	}
	pending, err := o.get("99", "001565000099.cfg")
	if err != nil || strings.Contains(pending, "account") || strings.Contains(pending, "password") {
		t.Fatalf("pending: %q, %v", pending, err)
	}
	want := phones.Status{
		MAC: stranger, Model: "T54W", State: phones.StatePending, Source: phones.FromNobody, Addr: addr("99"),
		FirstSeen: o.now, LastSeen: o.now, LastFetch: o.now, LastFile: "001565000099.cfg",
	}
	if diff := cmp.Diff(want, o.status(stranger), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	ctx := t.Context()
	for _, c := range []struct {
		extension, model string
		want             error
	}{{"100", "", phones.ErrTaken}, {"777", "", phones.ErrNoExtension}, {"101", "T99", phones.ErrNoModel}, {"101", "", nil}} {
		if err := o.Approve(ctx, stranger, c.extension, c.model); !errors.Is(err, c.want) {
			t.Errorf("approve %s %s: %v, want %v", c.extension, c.model, err, c.want)
		}
	}
	if err := o.Approve(ctx, alicePhone, "102", ""); !errors.Is(err, phones.ErrNamed) {
		t.Errorf("approve a configured phone: %v", err)
	}
	o.open(nil) // a restart
	file, err := o.get("99", "001565000099.cfg")
	if err != nil || !strings.Contains(file, "account.1.password = secret-of-bob-1") || !strings.Contains(file, "linekey.27.type") {
		t.Errorf("approved: %v\n%s", err, file)
	}
	if got := o.Approved(); len(got) != 1 || got[0].String() != stranger.String() || o.change != 1 {
		t.Errorf("approved: %v after %d changes", got, o.change)
	}
	if err := o.Forget(ctx, stranger); err != nil {
		t.Error(err)
	}
	if file, _ := o.get("99", "001565000099.cfg"); strings.Contains(file, "account") {
		t.Error("a forgotten phone has an account")
	}
}

func TestDeny(t *testing.T) {
	o := newOffice(t, func(c *phones.Config) { c.Unknown = phones.Deny })
	if _, err := o.get("99", "001565000099.cfg"); !errors.Is(err, fs.ErrPermission) {
		t.Error(err)
	}
	if st := o.status(stranger); st.State != phones.StateDenied {
		t.Errorf("%+v", st)
	}
}

func TestAuto(t *testing.T) {
	o := newOffice(t, nil)
	o.open(func(c *phones.Config) {
		c.Unknown, c.AutoUntil, c.AutoFirst, c.AutoLast = phones.Auto, o.now.Add(time.Hour), "100", "101"
	})
	if file, err := o.get("99", "001565000099.cfg"); err != nil || !strings.Contains(file, "account.1.user_name = 101") {
		t.Errorf("the next free extension: %v\n%s", err, file)
	}
	second := mac("00:15:65:00:00:98")
	o.leases[addr("98")] = second
	if file, err := o.get("98", "001565000098.cfg"); err != nil || strings.Contains(file, "account") {
		t.Errorf("none is free: %v\n%s", err, file)
	}
	if len(o.adopt) != 1 || o.adopt[0] != second.String() {
		t.Errorf("asked to make extensions for %v", o.adopt)
	}
	if err := o.Forget(t.Context(), stranger); err != nil {
		t.Fatal(err)
	}
	o.now = o.now.Add(2 * time.Hour)
	if file, _ := o.get("99", "001565000099.cfg"); strings.Contains(file, "account") {
		t.Error("adopted after the end")
	}
	if len(o.adopt) != 1 {
		t.Errorf("asked after the end: %v", o.adopt)
	}
}

// With secrets once, the file loses its secret after the first registration.
func TestSecretsOnce(t *testing.T) {
	o := newOffice(t, func(c *phones.Config) { c.Once = true })
	has := func() bool {
		t.Helper()
		file, err := o.get("10", "001565000001.cfg")
		if err != nil {
			t.Fatal(err)
		}
		if secret := strings.Contains(file, "secret-of-alice"); secret != strings.Contains(file, "an-admin-password") || secret != o.status(alicePhone).Armed {
			t.Errorf("half of the secrets: %s", file)
		}
		return strings.Contains(file, "secret-of-alice")
	}
	if !has() {
		t.Error("no secret before the first registration")
	}
	if err := errors.Join(o.Registered(t.Context(), alicePhone, "102"), o.Registered(t.Context(), laptop, "100")); err != nil {
		t.Fatal(err)
	}
	if !has() {
		t.Error("no secret after others have registered")
	}
	if err := o.Registered(t.Context(), alicePhone, "100"); err != nil {
		t.Fatal(err)
	}
	if has() {
		t.Error("a secret after the first registration")
	}
	if err := o.Rearm(t.Context(), alicePhone); err != nil || !has() {
		t.Errorf("no secret after rearm: %v", err)
	}
	if err := o.Rearm(t.Context(), stranger); !errors.Is(err, phones.ErrNoPhone) {
		t.Errorf("rearm of an unknown phone: %v", err)
	}
}

func TestAlerts(t *testing.T) {
	o := newOffice(t, nil)
	o.Seen(phones.Sighting{MAC: alicePhone, Addr: addr("10"), Circuit: "0001"})
	if a := o.status(alicePhone).Alert; a != "" {
		t.Errorf("alert: %s", a)
	}
	o.Seen(phones.Sighting{MAC: alicePhone, Addr: addr("10"), Circuit: "0002"})
	if a := o.status(alicePhone).Alert; !strings.Contains(a, "0001 to 0002") {
		t.Errorf("alert: %s", a)
	}
	o.Seen(phones.Sighting{MAC: alicePhone, Addr: addr("10"), Other: laptop})
	if a := o.status(alicePhone).Alert; !strings.Contains(a, laptop.String()) {
		t.Errorf("alert: %s", a)
	}
	o.now = o.now.Add(25 * time.Hour)
	if a := o.status(alicePhone).Alert; a != "" {
		t.Errorf("still after a day: %s", a)
	}
}

// Phones of unknown makes appear by their vendor class; others do not appear.
func TestSeenByClass(t *testing.T) {
	o := newOffice(t, nil)
	o.Seen(phones.Sighting{MAC: laptop, Class: "MSFT 5.0"})
	if _, err := o.Get(laptop); !errors.Is(err, phones.ErrNoPhone) {
		t.Errorf("a laptop: %v", err)
	}
	o.Seen(phones.Sighting{MAC: laptop, Class: "Yealink T48U"})
	if st := o.status(laptop); st.State != phones.StatePending || st.Model != "T48U" {
		t.Errorf("%+v", st)
	}
}

func TestUnknownPhonesAreBounded(t *testing.T) {
	o := newOffice(t, nil)
	o.Seen(phones.Sighting{MAC: alicePhone})
	for i := range 1500 {
		o.now = o.now.Add(time.Second)
		o.Seen(phones.Sighting{MAC: net.HardwareAddr{0, 0x15, 0x65, 1, byte(i >> 8), byte(i)}})
	}
	if n := len(slices.Collect(o.All())); n != 1001 {
		t.Errorf("%d phones are kept", n)
	}
	if st := o.status(alicePhone); st.State != phones.StateSeen {
		t.Errorf("the named phone: %+v", st)
	}
}

func TestSoftphone(t *testing.T) {
	o := newOffice(t, nil)
	link, err := o.SoftphoneLink("102")
	if err != nil {
		t.Fatal(err)
	}
	token, ok := strings.CutPrefix(link.URL, "http://192.168.1.1:9303/softphone/")
	if !ok || link.Expires.Sub(o.now) != 15*time.Minute {
		t.Errorf("%+v", link)
	}
	file, err := o.Softphone(token)
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "testdata/linphone.xml", file)
	if _, err := o.Softphone(token); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a second time: %v", err)
	}
	late, _ := o.SoftphoneLink("102")
	o.now = o.now.Add(16 * time.Minute)
	if _, err := o.Softphone(strings.TrimPrefix(late.URL, "http://192.168.1.1:9303/softphone/")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("too late: %v", err)
	}
	if _, err := o.SoftphoneLink("777"); !errors.Is(err, phones.ErrNoExtension) {
		t.Error(err)
	}
}

func TestDamagedStoreIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "phones.json")
	if err := os.WriteFile(path, []byte("{torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := phones.New(t.Context(), phones.Config{}, phones.Deps{Store: phones.FileStore{Path: path}}); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("got %v", err)
	}
}

// fullDisk is a store that cannot save.
type fullDisk struct{ phones.FileStore }

func (fullDisk) Save(context.Context, phones.Saved) error {
	return fmt.Errorf("no space left on device")
}

func TestApprovalThatIsNotStoredDoesNotCount(t *testing.T) {
	s, err := phones.New(t.Context(), phones.Config{Extensions: []yealink.Account{{Number: "100"}}}, phones.Deps{
		Store: fullDisk{phones.FileStore{Path: filepath.Join(t.TempDir(), "x")}}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Approve(t.Context(), stranger, "100", ""); err == nil || len(s.Approved()) != 0 {
		t.Errorf("%v, approved: %v", err, s.Approved())
	}
}

func TestMetrics(t *testing.T) {
	o := newOffice(t, nil)
	_, _ = o.get("10", "001565000001.cfg")
	_, _ = o.get("99", "001565000001.cfg")
	if err := testutil.CollectAndCompare(o.Service, strings.NewReader(`
# HELP sae_phones Phones by how far they are.
# TYPE sae_phones gauge
sae_phones{state="absent"} 0
sae_phones{state="denied"} 0
sae_phones{state="pending"} 0
sae_phones{state="provisioned"} 1
sae_phones{state="seen"} 0
# HELP sae_phone_alerts_total Times that a phone did something that a person should look at.
# TYPE sae_phone_alerts_total counter
sae_phone_alerts_total 1
`), "sae_phones", "sae_phone_alerts_total"); err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(o.Service, "sae_phone_files_total"); n != 16 {
		t.Errorf("%d series of files", n)
	}
}
