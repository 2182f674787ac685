package leasedb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.etcd.io/bbolt"

	"github.com/sae-agent/sae-agent/dhcpd"
)

func TestStore(t *testing.T) {
	path := newPath(t)
	db := openAt(t, path, options())
	if until := db.RecoverUntil(); !until.IsZero() {
		t.Errorf("a new store is in recovery until %v", until)
	}
	wantLeases(t, db, map[netip.Addr]dhcpd.Lease{})

	want := byAddr(leases(40, 1))
	commit(t, db, leases(40, 1)...)
	for i := 0; i < 40; i += 3 { // renewals
		want[lease(i, 2).Addr] = lease(i, 2)
		commit(t, db, lease(i, 2))
	}
	delete(want, lease(5, 0).Addr)
	commit(t, db, free(lease(5, 0)), free(lease(999, 0))) // the second one was never there
	commit(t, db)                                         // nothing to do
	commit(t, db, lease(6, 3), free(lease(6, 3)), lease(6, 4))
	want[lease(6, 0).Addr] = lease(6, 4)
	wantLeases(t, db, want)

	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openAt(t, path, options())
	wantLeases(t, db, want)
	if got := db.Opening(); got != (Opening{Leases: 39}) {
		t.Errorf("opening: %+v", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("file: %v, %v", info.Mode(), err)
	}
}

// A batch is stored whole or not at all.
func TestCommitIsAtomic(t *testing.T) {
	db := openAt(t, newPath(t), options())
	commit(t, db, lease(1, 1))
	offered := lease(3, 1)
	offered.State = dhcpd.StateOffered
	err := db.Commit(t.Context(), []dhcpd.Lease{lease(1, 2), lease(2, 1), offered})
	if !errors.Is(err, errRefused) {
		t.Errorf("offered lease: %v", err)
	}
	wantLeases(t, db, byAddr([]dhcpd.Lease{lease(1, 1)}))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.Commit(ctx, leases(3, 3)); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	commit(t, db, lease(2, 2))
	wantLeases(t, db, byAddr([]dhcpd.Lease{lease(1, 1), lease(2, 2)}))
}

func TestSecondOpenNamesHolder(t *testing.T) {
	path := newPath(t)
	db := openAt(t, path, options())
	_, err := Open(t.Context(), path, options())
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d (", os.Getpid())) {
		t.Errorf("second open: %v", err)
	}
	commit(t, db, lease(1, 1))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	openAt(t, path, options())
}

// Another program that has the file open is waited for, then named as the reason,
// and what it reads stays in place.
func TestForeignReader(t *testing.T) {
	path := newPath(t)
	commitAndClose(t, path, leases(5, 1))
	reader, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path, options()); err == nil || !strings.Contains(err.Error(), "another program has the file open") {
		t.Errorf("open: %v", err)
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	wantLeases(t, openAt(t, path, options()), byAddr(leases(5, 1)))
}

func commitAndClose(t *testing.T, path string, leases []dhcpd.Lease) {
	t.Helper()
	db := openAt(t, path, options())
	commit(t, db, leases...)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// What is no lease file is kept aside; recovery outlives a restart and ends.
func TestNotALeaseFile(t *testing.T) {
	foreign := func(path string) error {
		db, err := bbolt.Open(path, 0o644, nil)
		if err != nil {
			return err
		}
		defer db.Close()
		return db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("other")); return err })
	}
	tests := map[string]func(path string) error{
		"empty":         func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"text":          func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("lease\n", 9000)), 0o600) },
		"zeros":         func(path string) error { return os.WriteFile(path, make([]byte, 1<<20), 0o600) },
		"foreign bbolt": foreign,
	}
	for name, write := range tests {
		for how, verify := range map[string]func(context.Context, string) error{"child": inChild, "here": nil} {
			t.Run(name+"/"+how, func(t *testing.T) {
				path := newPath(t)
				if err := write(path); err != nil {
					t.Fatal(err)
				}
				before, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				now := epoch
				opts := options()
				opts.Verify, opts.Now = verify, func() time.Time { return now }
				db := openAt(t, path, opts)
				got := db.Opening()
				if got.SetAside != path+".corrupt-20260301T120000Z" || got.Problem == "" {
					t.Errorf("opening: %+v", got)
				}
				if kept, err := os.ReadFile(got.SetAside); err != nil || string(kept) != string(before) {
					t.Errorf("kept file: %v, %d bytes of %d", err, len(kept), len(before))
				}
				commit(t, db, lease(1, 1))
				for at, want := range map[time.Duration]bool{0: true, 11 * time.Hour: true, 12 * time.Hour: false} {
					now = epoch.Add(at)
					if err := db.Close(); err != nil {
						t.Fatal(err)
					}
					db = openAt(t, path, opts)
					if got := !db.RecoverUntil().IsZero(); got != want {
						t.Errorf("recovering after %v: %v, want %v", at, got, want)
					}
				}
				wantLeases(t, db, byAddr([]dhcpd.Lease{lease(1, 1)}))
			})
		}
	}
}

// A clock that was far ahead when leases were lost does not make recovery last.
func TestRecoveryAfterClockWentBack(t *testing.T) {
	path := newPath(t)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	opts := options()
	opts.Now = func() time.Time { return epoch.AddDate(10, 0, 0) }
	if err := openAt(t, path, opts).Close(); err != nil {
		t.Fatal(err)
	}
	db := openAt(t, path, options())
	if got, want := db.RecoverUntil(), epoch.Add(12*time.Hour); !got.Equal(want) {
		t.Errorf("recovering until %v, want %v", got, want)
	}
}

func TestKeptFilesAreFew(t *testing.T) {
	path := newPath(t)
	var newest string
	for i := range 6 {
		if err := os.WriteFile(path, []byte{byte(i)}, 0o600); err != nil {
			t.Fatal(err)
		}
		opts := options()
		opts.Now = func() time.Time { return epoch.Add(time.Duration(i/2) * time.Second) } // pairs of one name
		db := openAt(t, path, opts)
		newest = db.Opening().SetAside
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := filepath.Glob(path + ".corrupt-*")
	if err != nil || len(kept) != keepCorrupt || kept[keepCorrupt-1] != newest {
		t.Errorf("kept %v, %v, want %d with %s as the newest", kept, err, keepCorrupt, newest)
	}
}

// A file from the future, or something that is no file, is refused and stays.
func TestRefusedFiles(t *testing.T) {
	path := newPath(t)
	commitAndClose(t, path, leases(3, 1))
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		own := state{count: 3}.encode()
		own[sumSize]++
		seal([]byte(stateKey), own)
		return tx.Bucket(metaBucket).Put([]byte(stateKey), own)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path, options()); !errors.Is(err, ErrNewer) {
		t.Errorf("newer file: %v", err)
	}
	link, dir := newPath(t), t.TempDir()
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{link, dir} {
		if _, err := Open(t.Context(), bad, options()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("open %s: %v", bad, err)
		}
	}
	if _, err := Open(t.Context(), filepath.Join(dir, "none", "leases.db"), options()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
	for _, p := range []string{path, link, dir} {
		if kept, _ := filepath.Glob(p + ".corrupt-*"); len(kept) != 0 {
			t.Errorf("set aside: %v", kept)
		}
	}
}

// A verification that did not happen says nothing about the file.
func TestVerificationThatFails(t *testing.T) {
	path := newPath(t)
	commitAndClose(t, path, leases(3, 1))
	if err := os.Remove(proofOf(path)); err != nil { // with it nothing is to be verified
		t.Fatal(err)
	}
	run := func(script string) func(context.Context, string) error {
		return VerifyBy(func(ctx context.Context, _ string) *exec.Cmd { return exec.CommandContext(ctx, "sh", "-c", script) })
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tests := map[string]struct {
		ctx    context.Context
		verify func(context.Context, string) error
	}{
		"not started":     {t.Context(), VerifyBy(func(ctx context.Context, _ string) *exec.Cmd { return exec.CommandContext(ctx, "/none") })},
		"usage error":     {t.Context(), run("echo unknown command >&2; exit 2")},
		"does nothing":    {t.Context(), run("exit 0")},
		"killed":          {t.Context(), run("echo verifying; kill -9 $$")},
		"no memory":       {t.Context(), run("echo verifying; echo 'fatal error: runtime: cannot allocate memory' >&2; exit 2")},
		"no threads":      {t.Context(), run("echo verifying; echo 'runtime: failed to create new OS thread' >&2; exit 2")},
		"cannot read":     {t.Context(), run("echo verifying; exit 4")},
		"service stopped": {ctx, run("echo verifying; sleep 60")},
	}
	for name, tt := range tests {
		opts := options()
		opts.Verify = tt.verify
		if _, err := Open(tt.ctx, path, opts); err == nil || errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantLeases(t, openAt(t, path, options()), byAddr(leases(3, 1)))
}

// A child that crashes, or has no end, condemns the file.
func TestVerificationThatCrashes(t *testing.T) {
	for name, script := range map[string]string{
		"panic":     "echo verifying; echo 'panic: page 3' >&2; exit 2",
		"fault":     "echo verifying; echo 'unexpected fault address 0x7f0000000000' >&2; exit 2",
		"recursion": "echo verifying; echo 'runtime: goroutine stack exceeds 16777216-byte limit' >&2; exit 2",
		"bus error": "echo verifying; kill -BUS $$",
		"damaged":   "echo verifying; exit 3",
	} {
		err := VerifyBy(func(ctx context.Context, _ string) *exec.Cmd { return exec.CommandContext(ctx, "sh", "-c", script) })(t.Context(), "x")
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file that once held much gives the space back.
func TestCompaction(t *testing.T) {
	path := newPath(t)
	const n = 20000
	many := leases(n, 1)
	db := openAt(t, path, options())
	commit(t, db, many...)
	big := fileSize(t, path)
	for i := range many {
		if i%50 != 0 {
			many[i] = free(many[i])
		}
	}
	commit(t, db, many...)
	want := load(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openAt(t, path, options())
	if got := db.Opening(); !got.Compacted || got.Leases != n/50 {
		t.Errorf("opening: %+v", got)
	}
	if small := fileSize(t, path); small > big/2 {
		t.Errorf("file went from %d to %d bytes", big, small)
	}
	wantLeases(t, db, want)
	commit(t, db, lease(1, 7))
	want[lease(1, 7).Addr] = lease(1, 7)
	wantLeases(t, db, want)
}

// The same leases renewed over and over do not make the file grow.
func TestNoGrowth(t *testing.T) {
	path := newPath(t)
	db := openAt(t, path, options())
	r := newRand(3)
	commit(t, db, leases(500, 0)...)
	renew := func(rounds int) int64 {
		for gen := range rounds {
			batch := make([]dhcpd.Lease, 64)
			for i := range batch {
				batch[i] = lease(r.IntN(500), gen)
			}
			commit(t, db, batch...)
		}
		return fileSize(t, path)
	}
	if early, late := renew(50), renew(300); late > early {
		t.Errorf("file grew from %d to %d bytes", early, late)
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// After a failed sync the next commit writes the whole file anew.
func TestRewriteAfterFailedSync(t *testing.T) {
	path := newPath(t)
	db := openAt(t, path, options())
	commit(t, db, leases(300, 1)...)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	db.mu.Lock()
	db.suspect = true
	db.mu.Unlock()
	commit(t, db, lease(7, 2))
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if os.SameFile(before, after) {
		t.Error("still the same file")
	}
	want := byAddr(leases(300, 1))
	want[lease(7, 2).Addr] = lease(7, 2)
	wantLeases(t, db, want)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	wantLeases(t, openAt(t, path, options()), want)
}

func TestConcurrentUse(t *testing.T) {
	db := openAt(t, newPath(t), options())
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(db)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 25 {
				if err := db.Commit(t.Context(), []dhcpd.Lease{lease(w*100+i, 1)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 25 {
			if _, err := db.Load(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := registry.Gather(); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if got := len(load(t, db)); got != 100 {
		t.Errorf("%d leases, want 100", got)
	}
}

func TestMetrics(t *testing.T) {
	db := openAt(t, newPath(t), options())
	commit(t, db, leases(3, 1)...)
	if err := db.Commit(t.Context(), []dhcpd.Lease{{}}); err == nil {
		t.Error("a lease without address was stored")
	}
	want := `
# HELP sae_lease_store_errors_total Operations on the lease file that failed.
# TYPE sae_lease_store_errors_total counter
sae_lease_store_errors_total{operation="commit"} 1
sae_lease_store_errors_total{operation="load"} 0
# HELP sae_lease_store_leases Leases in the lease file, expired ones included.
# TYPE sae_lease_store_leases gauge
sae_lease_store_leases 3
# HELP sae_lease_store_set_aside 1 if the file was damaged when it was opened and an empty one took its place.
# TYPE sae_lease_store_set_aside gauge
sae_lease_store_set_aside 0
`
	if err := testutil.CollectAndCompare(db, strings.NewReader(want), "sae_lease_store_errors_total", "sae_lease_store_leases", "sae_lease_store_set_aside"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.CollectAndLint(db); err != nil || len(problems) != 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}
