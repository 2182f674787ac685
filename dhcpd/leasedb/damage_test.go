package leasedb

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/dhcpd"
)

// sample returns the bytes of a store that has lived a little (so that it has free
// pages with old versions of leases, and a tree of two levels), and its leases.
func sample(t *testing.T) ([]byte, map[netip.Addr]dhcpd.Lease) {
	t.Helper()
	path := newPath(t)
	db := openAt(t, path, options())
	r := newRand(11)
	for gen := range 6 {
		batch := make([]dhcpd.Lease, 0, 60)
		for range 60 {
			l := lease(r.IntN(150), gen)
			if r.IntN(5) == 0 {
				l = free(l)
			}
			batch = append(batch, l)
		}
		commit(t, db, batch...)
	}
	want := load(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The file grows in big steps; what lies beyond the last page was never used.
	data = data[:(lastPage(data)+1)*pageSize]
	return data, want
}

func lastPage(data []byte) int {
	last := 0
	for p := 0; p*pageSize < len(data); p++ {
		if !bytes.Equal(data[p*pageSize:(p+1)*pageSize], make([]byte, pageSize)) {
			last = p
		}
	}
	return last
}

// Whatever happens to the file, Open gives a working store, no lease is wrong, and
// when one is missing the store says so.
func TestDamagedFile(t *testing.T) {
	data, want := sample(t)
	r := newRand(5)
	damage := map[string][]byte{}
	add := func(name string, change func(bad []byte)) {
		bad := bytes.Clone(data)
		change(bad)
		damage[name] = bad
	}
	for p := range len(data) / pageSize {
		page := func(bad []byte) []byte { return bad[p*pageSize : (p+1)*pageSize] }
		damage[fmt.Sprintf("cut at page %d", p)] = data[:p*pageSize]
		add(fmt.Sprintf("page %d zeroed", p), func(bad []byte) { clear(page(bad)) })
		add(fmt.Sprintf("page %d with fewer records", p), func(bad []byte) {
			count := page(bad)[10:]
			binary.NativeEndian.PutUint16(count, max(1, binary.NativeEndian.Uint16(count)-1))
		})
		add(fmt.Sprintf("page %d header or first element", p), func(bad []byte) {
			page(bad)[r.IntN(40)] ^= byte(1 + r.IntN(255))
		})
		switch p % 2 {
		case 0:
			add(fmt.Sprintf("page %d with a great overflow", p), func(bad []byte) {
				binary.NativeEndian.PutUint32(page(bad)[12:], 1<<31)
			})
		case 1:
			other := r.IntN(len(data) / pageSize)
			add(fmt.Sprintf("page %d holds page %d", p, other), func(bad []byte) { copy(page(bad), data[other*pageSize:]) })
		}
	}
	for i := range 40 {
		add(fmt.Sprintf("random byte %d", i), func(bad []byte) { bad[r.IntN(len(bad))] ^= byte(1 + r.IntN(255)) })
		damage[fmt.Sprintf("cut anywhere %d", i/2)] = data[:r.IntN(len(data))]
	}
	noticed := 0
	for name, bad := range damage {
		path := filepath.Join(t.TempDir(), "leases.db")
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if survives(t, name, path, want) {
			noticed++
		}
	}
	t.Logf("%d of %d kinds of damage lost leases, all noticed", noticed, len(damage))
	if noticed < len(damage)/4 {
		t.Errorf("only %d of %d kinds of damage did anything: the test does not reach the records", noticed, len(damage))
	}
}

// survives opens a damaged file, checks what is promised, and reports whether
// leases were lost.
func survives(t *testing.T, name, path string, want map[netip.Addr]dhcpd.Lease) bool {
	t.Helper()
	db, err := Open(t.Context(), path, options())
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return false
	}
	defer db.Close()
	got := load(t, db)
	for addr, l := range got {
		if diff := cmp.Diff(want[addr], l, compareAddrs); diff != "" {
			t.Errorf("%s: wrong lease (-want +got):\n%s", name, diff)
		}
	}
	lost := len(got) != len(want)
	if lost && db.RecoverUntil().IsZero() {
		t.Errorf("%s: %d of %d leases and nobody noticed: %+v", name, len(got), len(want), db.Opening())
	}
	commit(t, db, lease(1000, 1))
	return lost
}

// One record with a wrong checksum costs that record only.
func TestSingleBadRecord(t *testing.T) {
	data, want := sample(t)
	var victim dhcpd.Lease
	for _, victim = range want {
		break
	}
	for at := 0; ; at++ { // free pages hold old versions of it: spoil them all
		i := bytes.Index(data[at:], []byte(victim.Hostname))
		if i < 0 {
			break
		}
		at += i
		data[at] ^= 0x20
	}
	path := newPath(t)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	db := openAt(t, path, options())
	delete(want, victim.Addr)
	wantLeases(t, db, want)
	got := db.Opening()
	if got.Dropped != 1 || got.SetAside != "" || !strings.Contains(got.Problem, "1 damaged records") {
		t.Errorf("opening: %+v", got)
	}
	if until := db.RecoverUntil(); !until.Equal(epoch.Add(12 * time.Hour)) {
		t.Errorf("recovering until %v", until)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openAt(t, path, options())
	wantLeases(t, db, want)
	if got := db.Opening(); got.Problem != "" {
		t.Errorf("second opening: %+v", got)
	}
}

// With one meta page damaged bbolt would show the state before the last commit, in
// which an address may belong to somebody else.
func TestDamagedMetaPage(t *testing.T) {
	data, _ := sample(t)
	for page := range 2 {
		path := newPath(t)
		bad := bytes.Clone(data)
		bad[page*pageSize+metaOffset+metaSummed-1] ^= 1 // transaction number
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		db := openAt(t, path, options())
		if got := db.Opening(); db.RecoverUntil().IsZero() || got.SetAside == "" || !strings.Contains(got.Problem, "meta page") {
			t.Errorf("page %d: %+v", page, got)
		}
	}
}

// smallDisk mounts a file system of that many bytes and returns its folder.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all space that is left, and returns a function that gives it back.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := f.Write(make([]byte, pageSize)); err != nil {
			break
		}
	}
	f.Close()
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, 1<<20)
	path := filepath.Join(dir, "leases.db")
	db := openAt(t, path, options())
	want := byAddr(leases(50, 1))
	commit(t, db, leases(50, 1)...)
	empty := fill(t, dir)
	failed := 0
	for i := 50; i < 2000; i += 50 { // the first batches still fit into pages that are there
		batch := leases(i+50, 1)[i:]
		if err := db.Commit(t.Context(), batch); err == nil {
			for _, l := range batch {
				want[l.Addr] = l
			}
		} else if failed++; !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free some space") {
			t.Fatalf("full disk: %v", err)
		}
	}
	if failed == 0 {
		t.Fatal("the disk was never full")
	}
	wantLeases(t, db, want)
	if f := db.Failing(); f == nil || !errors.Is(f.Err, syscall.ENOSPC) || !f.Since.Equal(epoch) {
		t.Errorf("the disk is full, and the store says %+v", f)
	}
	if err := db.Recheck(t.Context()); !errors.Is(err, syscall.ENOSPC) || db.Failing() == nil {
		t.Errorf("looking again while it is full: %v, %+v", err, db.Failing())
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.Commit(gone, leases(1, 3)); err == nil || !errors.Is(db.Failing().Err, syscall.ENOSPC) {
		t.Errorf("a commit that was given up, %v, is no news of the disk: %+v", err, db.Failing())
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openAt(t, path, options()) // a restart while the disk is full
	wantLeases(t, db, want)
	if err := db.Commit(t.Context(), leases(600, 2)); err == nil || db.Failing() == nil {
		t.Errorf("a full disk after a restart: %v, %+v", err, db.Failing())
	}
	empty()
	if err := db.Recheck(t.Context()); err != nil || db.Failing() != nil {
		t.Errorf("there is room again: %v, %+v", err, db.Failing())
	}
	commit(t, db, leases(600, 2)...)
	for _, l := range leases(600, 2) {
		want[l.Addr] = l
	}
	wantLeases(t, db, want)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openAt(t, path, options())
	wantLeases(t, db, want)
	if got := db.Opening(); got.Problem != "" {
		t.Errorf("opening: %+v", got)
	}
}

// A damaged file on a full disk, which leaves no room for a new one, stays.
func TestDamageOnFullDisk(t *testing.T) {
	dir := smallDisk(t, 1<<20)
	path := filepath.Join(dir, "leases.db")
	if err := os.WriteFile(path, []byte("not a lease file"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := fill(t, dir)
	if _, err := Open(t.Context(), path, options()); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("open: %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "not a lease file" {
		t.Errorf("file: %q, %v", data, err)
	}
	empty()
	if db := openAt(t, path, options()); db.RecoverUntil().IsZero() {
		t.Error("not in recovery")
	}
}

func TestReadOnlyDisk(t *testing.T) {
	dir := smallDisk(t, 4<<20)
	path := filepath.Join(dir, "leases.db")
	commitAndClose(t, path, leases(9, 1))
	remount := func(flags uintptr) {
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(unix.MS_RDONLY)
	if _, err := Open(t.Context(), path, options()); !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), "mount it for writing") {
		t.Errorf("open: %v", err)
	}
	remount(0)
	wantLeases(t, openAt(t, path, options()), byAddr(leases(9, 1)))
}

// writeForever is a child that commits batches and prints the number of each one
// that is stored, until it is killed.
func writeForever(path string) {
	opts := options()
	opts.Verify = nil // the parent checks the file before and after
	db, err := Open(context.Background(), path, opts)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for gen := 1; ; gen++ {
		batch := make([]dhcpd.Lease, 16)
		for i := range batch {
			batch[i] = lease(gen*7%500+i, gen)
		}
		if err := db.Commit(context.Background(), batch); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(gen)
	}
}

// Every batch that was acknowledged before a kill -9 is there afterwards.
func TestKill(t *testing.T) {
	path := newPath(t)
	r := newRand(9)
	want := map[netip.Addr]dhcpd.Lease{}
	for range 8 {
		cmd := child(t.Context(), "write", path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		kill := 5 + r.IntN(60)
		last := 0
		for lines.Scan() { // after the kill too: what was printed was stored
			if last, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatalf("writer: %s", lines.Text())
			}
			if last == kill {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
		for gen := 1; gen <= last; gen++ {
			for i := range 16 {
				l := lease(gen*7%500+i, gen)
				want[l.Addr] = l
			}
		}
		db := openAt(t, path, options())
		got := load(t, db)
		unacknowledged := map[netip.Addr]dhcpd.Lease{} // the batch it was killed in may be there
		for i := range 16 {
			l := lease((last+1)*7%500+i, last+1)
			unacknowledged[l.Addr] = l
		}
		for addr, l := range want {
			if !cmp.Equal(got[addr], l, compareAddrs) && !cmp.Equal(got[addr], unacknowledged[addr], compareAddrs) {
				t.Fatalf("after batch %d: got %+v, want %+v", last, got[addr], l)
			}
		}
		if problem := db.Opening().Problem; problem != "" {
			t.Errorf("opening: %s", problem)
		}
		want = got
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
