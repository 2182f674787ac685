package tftpd

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/iotest"
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
	if allocs > 10 && !raceEnabled {
		t.Errorf("%.1f allocations a file", allocs)
	}
}

// readsOf counts how often a file is read.
type readsOf struct {
	io.Reader
	reads *atomic.Int64
}

func (r readsOf) Read(p []byte) (int, error) {
	r.reads.Add(1)
	return r.Reader.Read(p)
}

func (readsOf) Close() error { return nil }

// A block of firmware costs one system call to send it and the memory of its packet; the file is read many blocks at
// a time.
func TestWorkOfFirmware(t *testing.T) {
	const blockSize, blocks = 1428, 2000
	var reads atomic.Int64
	ended := make(chan int64, 1)
	sent := make(chan message, 1) // from the reader, when a part is still to be read
	s := &sender{
		send:     func(out []outgoing) { sent <- out[0].message },
		finished: func(_ *job, bytes int64, _ error) { ended <- bytes },
		rescue:   func(Request, *error) {},
		active:   make(map[netip.AddrPort]*delivery),
	}
	client := netip.MustParseAddrPort("127.0.0.1:20000")
	content := bytes.Repeat([]byte("firmware"), blockSize*blocks/8)
	fetch := func() {
		j := &job{Request: Request{Client: client}, request: readRequest{mode: "octet", options: []option{{"blksize", "1428"}}}}
		file := &File{ReadCloser: readsOf{bytes.NewReader(content), &reads}, Size: int64(len(content))}
		packet, err := s.start(j, file, blockSize)
		if err != nil || packet.head[1] != opOACK {
			t.Fatalf("%q, %v", packet, err)
		}
		ack, got := []byte{0, opAck, 0, 0}, 0
		for n := 0; ; n++ {
			binary.BigEndian.PutUint16(ack[2:], uint16(n))
			packet, _ = s.answer(client, ack)
			if packet.none() && n == blocks+1 {
				break
			}
			if packet.none() {
				packet = <-sent
			}
			if got += len(packet.rest); binary.BigEndian.Uint16(packet.head[2:]) != uint16(n+1) {
				t.Fatalf("after %d blocks came %q", n, packet.head)
			}
		}
		if size := <-ended; size != int64(len(content)) || got != len(content) {
			t.Fatalf("%d bytes were sent, %d came, of %d", size, got, len(content))
		}
		s.readers.Wait()
	}
	fetch()
	if most := int64(blocks*blockSize/partSize) * 5 / 4; reads.Load() > most {
		t.Errorf("a file of %d blocks is read %d times, more than %d", blocks, reads.Load(), most)
	}
	allocs := testing.AllocsPerRun(10, fetch) / blocks
	t.Logf("%.2f allocations a block, %d reads", allocs, reads.Load()/12)
	if allocs > 1.5 && !raceEnabled {
		t.Errorf("%.2f allocations a block", allocs)
	}
}

// A file that comes a byte at a time comes whole; of one that breaks off, whole blocks do.
func TestReadPart(t *testing.T) {
	for _, size := range []int{0, 1, 1024, 1025, 2047, 2048} {
		content := bytes.Repeat([]byte("x"), size)
		p := readPart(iotest.OneByteReader(bytes.NewReader(content)), make([]byte, 2048), 1024)
		if len(p.data) != size || (p.err == io.EOF) != (size < 2048) {
			t.Errorf("%d bytes: %d, %v", size, len(p.data), p.err)
		}
	}
	broken := io.MultiReader(bytes.NewReader(make([]byte, 1100)), iotest.ErrReader(io.ErrClosedPipe))
	if p := readPart(broken, make([]byte, 2048), 1024); len(p.data) != 1024 || p.err != io.ErrClosedPipe {
		t.Errorf("%d bytes, %v", len(p.data), p.err)
	}
}
