package leasedb

import (
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sae-agent/sae-agent/dhcpd"
)

// What was served is there after a restart, in a copy (which is why it names the
// machine), and costs no lease.
func TestServedIsRemembered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases.db")
	db, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := db.LoadServed(t.Context()); err != nil || got.Machine != "" || !got.Last.IsZero() {
		t.Errorf("an empty store remembers %+v, %v", got, err)
	}
	want := dhcpd.Served{
		Machine: "3d1e", Card: net.HardwareAddr{0, 0x50, 0x56, 1, 2, 3}, Subnet: netip.MustParsePrefix("192.168.1.0/24"),
		Last: time.Date(2026, 11, 28, 3, 0, 0, 17, time.UTC),
	}
	if err := db.StoreServed(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if err := db.Commit(t.Context(), leases(3, 1)); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy.db")
	if err := db.CopyTo(copied); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{path, copied} {
		db, err := Open(t.Context(), path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := db.LoadServed(t.Context())
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" || err != nil {
			t.Errorf("%s (-want +got), %v:\n%s", filepath.Base(path), err, diff)
		}
		if o := db.Opening(); o.Leases != 3 || o.Problem != "" {
			t.Errorf("opening: %+v", o)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
