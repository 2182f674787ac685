package leasedb

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/dhcpd"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

// childEnv makes the test binary a child of a test: a verifier of, or a writer to,
// the file named by its last argument.
const childEnv = "LEASEDB_TEST_CHILD"

func TestMain(m *testing.M) {
	path := os.Args[len(os.Args)-1]
	switch os.Getenv(childEnv) {
	case "verify":
		os.Exit(VerifyMain(path, os.Stdout, os.Stderr))
	case "write":
		writeForever(path)
	}
	lab.Main(m, func() error { return goleak.Find() })
}

func child(ctx context.Context, role, path string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", path)
	cmd.Env = append(os.Environ(), childEnv+"="+role, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// inChild verifies as the product does: in a process of its own.
var inChild = VerifyBy(func(ctx context.Context, path string) *exec.Cmd { return child(ctx, "verify", path) })

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func options() Options {
	return Options{Verify: inChild, LeaseTime: 12 * time.Hour, Now: func() time.Time { return epoch }}
}

func openAt(t *testing.T, path string, opts Options) *DB {
	t.Helper()
	db, err := Open(t.Context(), path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func newPath(t *testing.T) string { return filepath.Join(t.TempDir(), "leases.db") }

func commit(t *testing.T, db *DB, leases ...dhcpd.Lease) {
	t.Helper()
	if err := db.Commit(t.Context(), leases); err != nil {
		t.Fatal(err)
	}
}

// load returns the stored leases by address.
func load(t *testing.T, db *DB) map[netip.Addr]dhcpd.Lease {
	t.Helper()
	leases, err := db.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return byAddr(leases)
}

func byAddr(leases []dhcpd.Lease) map[netip.Addr]dhcpd.Lease {
	m := make(map[netip.Addr]dhcpd.Lease)
	for _, l := range leases {
		m[l.Addr] = l
	}
	return m
}

func wantLeases(t *testing.T, db *DB, want map[netip.Addr]dhcpd.Lease) {
	t.Helper()
	if diff := cmp.Diff(want, load(t, db), compareAddrs); diff != "" {
		t.Errorf("leases (-want +got):\n%s", diff)
	}
}

var compareAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// lease returns the i-th lease of a test; gen tells its versions apart.
func lease(i, gen int) dhcpd.Lease {
	return dhcpd.Lease{
		Addr:        netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}),
		MAC:         net.HardwareAddr{0x00, 0x15, 0x65, byte(i >> 16), byte(i >> 8), byte(i)},
		ClientID:    []byte{1, 0x00, 0x15, 0x65, byte(i >> 16), byte(i >> 8), byte(i)},
		Hostname:    fmt.Sprintf("phone-%d-%d", i, gen),
		VendorClass: "yealink",
		State:       dhcpd.StateBound,
		Start:       epoch.Add(time.Duration(gen) * time.Second),
		Expires:     epoch.Add(12*time.Hour + time.Duration(gen)*time.Second),
	}
}

func leases(n, gen int) []dhcpd.Lease {
	ls := make([]dhcpd.Lease, n)
	for i := range ls {
		ls[i] = lease(i, gen)
	}
	return ls
}

// free is the change that removes a lease.
func free(l dhcpd.Lease) dhcpd.Lease { return dhcpd.Lease{Addr: l.Addr, State: dhcpd.StateFree} }

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }
