package tftpd

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/netip"
	"testing"
)

// memoryFile is a source with one file, of four blocks.
type memoryFile []byte

func (m memoryFile) Open(context.Context, Request) (*File, error) { return InMemory(m), nil }

// What is counted here is what a storm costs: phones that fetch a configuration of 2 kB go through it together, a
// batch of them at a time.
func TestWorkOfAFile(t *testing.T) {
	s, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:0")}, memoryFile(bytes.Repeat([]byte("x"), 2000)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = d.requests.Close(), d.transfers.Close() })
	const blocks = 4
	request := []byte("\x00\x01phone.cfg\x00octet\x00")
	acks := make([][]incoming, blocks)
	for n := range acks {
		for i := range batchSize {
			ack := binary.BigEndian.AppendUint16([]byte{0, opAck}, uint16(n+1))
			acks[n] = append(acks[n], incoming{ack, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 1, byte(i)}), 20000)})
		}
	}
	fetch := func() {
		d.jobs = make(chan *job, batchSize)
		for _, a := range acks[0] {
			if refused := d.request(a.from, request); refused != nil {
				t.Fatalf("refused: %q", refused)
			}
		}
		close(d.jobs)
		if err := d.serveJobs(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, batch := range acks {
			if err := d.answers(batch); err != nil {
				t.Fatal(err)
			}
		}
		if left := len(d.guard.jobs()); left > 0 {
			t.Fatalf("%d files did not end", left)
		}
	}
	before := d.transfers.sends.Load()
	fetch()
	if sends := d.transfers.sends.Load() - before; sends > blocks {
		t.Errorf("%d system calls to send %d files", sends, batchSize)
	}
	allocs := testing.AllocsPerRun(50, fetch) / batchSize
	t.Logf("%.1f allocations a file", allocs)
	if allocs > 14 && !raceEnabled {
		t.Errorf("%.1f allocations a file", allocs)
	}
}
