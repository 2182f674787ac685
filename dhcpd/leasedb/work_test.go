package leasedb

import (
	"testing"

	"github.com/sae-agent/sae-agent/dhcpd"
)

// What a batch writes is counted, not timed: a renewal among many costs its share of
// a few pages, and a phone's record is no longer than it must be.
func TestBytesWrittenPerLease(t *testing.T) {
	const stored, batch = 10000, 64
	db, err := Open(t.Context(), t.TempDir()+"/leases.db", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Commit(t.Context(), leases(stored, 0)); err != nil {
		t.Fatal(err)
	}
	one := lease(1, 1)
	if _, value, err := encodeLease(&one); err != nil || len(value) > 64 {
		t.Errorf("a record of %d bytes, %v", len(value), err)
	}
	before := db.bolt.Stats()
	changes := make([]dhcpd.Lease, batch)
	for gen := range 20 {
		for i := range changes {
			changes[i] = lease(gen*batch+i, gen+1)
		}
		if err := db.Commit(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
	}
	diff := db.bolt.Stats()
	written := (diff.TxStats.GetPageAlloc() - before.TxStats.GetPageAlloc()) / (20 * batch)
	t.Logf("%d bytes a lease", written)
	if written > 512 {
		t.Errorf("%d bytes were written for a lease", written)
	}
}
