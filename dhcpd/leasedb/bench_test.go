package leasedb

import (
	"fmt"
	"testing"

	"github.com/sae-agent/sae-agent/dhcpd"
)

// One batch of renewals by random clients, synced to the disk of the test folder.
func BenchmarkCommit(b *testing.B) {
	for _, stored := range []int{1000, 50000} {
		for _, size := range []int{1, 8, 64, 256} {
			b.Run(fmt.Sprintf("stored=%d/batch=%d", stored, size), func(b *testing.B) {
				db, err := Open(b.Context(), b.TempDir()+"/leases.db", Options{})
				if err != nil {
					b.Fatal(err)
				}
				defer db.Close()
				if err := db.Commit(b.Context(), leases(stored, 0)); err != nil {
					b.Fatal(err)
				}
				r := newRand(1)
				batch := make([]dhcpd.Lease, size)
				for gen := 1; b.Loop(); gen++ {
					for i := range batch {
						batch[i] = lease(r.IntN(stored), gen)
					}
					if err := db.Commit(b.Context(), batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds(), "leases/s")
			})
		}
	}
}
