package takeover

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/setup/leasefile"
	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/dhcpd/leasedb"
)

// What the plan writes down is in our store when our server starts, and what the
// store has stays.
func TestLeasesOfTheFormerServerAreAdopted(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	path := filepath.Join(dir, LeasesFile)
	mac := func(n byte) net.HardwareAddr { return net.HardwareAddr{0, 0x15, 0x65, 0, 0, n} }
	ip := netip.MustParseAddr
	m := Machine{
		Units: map[string]runner.UnitState{"dnsmasq.service": {Active: true}}, Holders: []string{"dnsmasq.service"}, LeasesPath: path,
		Leases: []leasefile.Lease{
			{Addr: ip("192.168.1.50"), MAC: mac(1), ClientID: []byte{1, 2}, Hostname: "desk", Expires: now.Add(time.Hour)},
			{Addr: ip("192.168.1.51"), MAC: mac(2)},
			{Addr: ip("192.168.1.52"), MAC: mac(3), Expires: now.Add(-time.Hour)},
			{Addr: ip("10.0.0.53"), MAC: mac(4)},
			{Addr: ip("192.168.1.54"), MAC: mac(5)},
			{Addr: ip("192.168.1.55"), MAC: mac(6)},
		},
	}
	steps := Plan(m)
	if err := (Takeover{System: &fake{}, Root: "/", Record: filepath.Join(dir, "takeover.json")}).Do(t.Context(), steps); err != nil {
		t.Fatal(err)
	}
	db, err := leasedb.Open(t.Context(), filepath.Join(dir, "leases.db"), leasedb.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ours := dhcpd.Lease{Addr: ip("192.168.1.54"), MAC: mac(6), State: dhcpd.StateBound, Start: now, Expires: now.Add(time.Hour)}
	if err := db.Commit(t.Context(), []dhcpd.Lease{ours}); err != nil {
		t.Fatal(err)
	}
	lan := netip.MustParsePrefix("192.168.1.0/24")
	if n, err := Adopt(t.Context(), path, db, lan, now); n != 2 || err != nil {
		t.Errorf("%d leases, %v", n, err)
	}
	got, err := db.Load(t.Context())
	want := []dhcpd.Lease{
		{Addr: ip("192.168.1.50"), MAC: mac(1), ClientID: []byte{1, 2}, Hostname: "desk", State: dhcpd.StateBound, Expires: now.Add(time.Hour)},
		{Addr: ip("192.168.1.51"), MAC: mac(2), State: dhcpd.StateBound, Expires: now.Add(endless)},
		ours,
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	if n, err := Adopt(t.Context(), path, db, lan, now); n != 0 || err != nil {
		t.Errorf("again: %d leases, %v", n, err)
	}
}

func TestDamagedLeasesFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), LeasesFile)
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Adopt(t.Context(), path, nil, netip.Prefix{}, time.Now()); err == nil {
		t.Error("no error")
	}
}
