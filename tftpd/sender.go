package tftpd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/pin/tftp/v3/netascii"
	"golang.org/x/net/ipv4"
)

// smallFile is how large a file may be, in bytes, that the sender delivers. All
// configuration files are; firmware is not, and goes through pin/tftp.
const smallFile = 64 << 10

const (
	opData = 3
	opAck  = 4
	// lookEvery is how often unacknowledged blocks are looked for.
	lookEvery = 100 * time.Millisecond
	batchSize = 64
)

// sender delivers small files from memory, all on one socket: a phone's whole boot
// takes no socket and no goroutine of its own, where a thousand boot at once.
type sender struct {
	conn     *net.UDPConn
	batch    *ipv4.PacketConn
	timeout  time.Duration
	retries  int
	finished func(j *job, bytes int64, err error)

	mu     sync.Mutex // guards the following
	active map[netip.AddrPort]*delivery
}

// delivery is a file on its way.
type delivery struct {
	job       *job
	data      []byte
	blockSize int
	packet    []byte // the last one sent: an OACK or a block
	block     int    // its number, 0 for an OACK
	tries     int
	due       time.Time // when it is sent again
}

func newSender(conn *net.UDPConn, cfg Config, finished func(*job, int64, error)) *sender {
	return &sender{
		conn: conn, batch: ipv4.NewPacketConn(conn), timeout: cfg.Timeout, retries: cfg.Retries, finished: finished,
		active: make(map[netip.AddrPort]*delivery),
	}
}

// start begins to deliver a file. largest bounds the block size.
func (s *sender) start(j *job, file *File, largest int) error {
	data, err := contents(file, j.request.mode)
	if err != nil {
		return fmt.Errorf("tftpd: %w", err)
	}
	d := &delivery{job: j, data: data, blockSize: 512, due: time.Now().Add(s.timeout)}
	d.packet = d.answerOptions(j.request.options, file.Size, largest)
	if d.packet == nil {
		d.next()
	}
	s.mu.Lock()
	old := s.active[j.Client]
	s.active[j.Client] = d
	s.mu.Unlock()
	if old != nil { // the client has begun anew from the same port
		s.finished(old.job, 0, errors.New("the client asked for something else"))
	}
	_, err = s.conn.WriteToUDPAddrPort(d.packet, j.Client)
	if err != nil {
		return s.drop(d, err)
	}
	return nil
}

// contents returns what a small file holds, in the mode that the client wants.
func contents(file *File, mode string) ([]byte, error) {
	r := io.LimitReader(file, smallFile)
	switch {
	case mode == "netascii":
		r = netascii.ToReader(r)
	case file.content != nil:
		return file.content, nil
	}
	return readAll(r, file.Size)
}

// drop ends a delivery that could not begin.
func (s *sender) drop(d *delivery, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active[d.job.Client] != d {
		return nil // ended meanwhile
	}
	delete(s.active, d.job.Client)
	return fmt.Errorf("tftpd: send: %w", err)
}

// answerOptions returns an OACK (RFC 2347), or nil when no option was understood.
func (d *delivery) answerOptions(options []option, size int64, largest int) []byte {
	var p []byte
	for _, o := range options {
		value := strconv.FormatInt(size, 10)
		if o.name == "blksize" {
			n, _ := strconv.Atoi(o.value) // parseRequest has checked it
			d.blockSize = min(n, largest)
			value = strconv.Itoa(d.blockSize)
		}
		p = append(append(append(append(p, o.name...), 0), value...), 0)
	}
	if p == nil {
		return nil
	}
	return append([]byte{0, opOACK}, p...)
}

// next makes the block after the last one.
func (d *delivery) next() {
	from := min(d.block*d.blockSize, len(d.data))
	to := min(from+d.blockSize, len(d.data))
	d.block++
	header := append(make([]byte, 0, 4+to-from), 0, opData)
	d.packet = append(binary.BigEndian.AppendUint16(header, uint16(d.block)), d.data[from:to]...)
}

// isLast reports whether the last packet ends the file: a block that is not full.
func (d *delivery) isLast() bool { return d.block > 0 && len(d.packet)-4 < d.blockSize }

// receive takes acknowledgements until the socket is closed.
func (s *sender) receive(ctx context.Context) error {
	in := make([]ipv4.Message, batchSize)
	for i := range in {
		in[i].Buffers = [][]byte{make([]byte, 600)}
	}
	out := make([]ipv4.Message, 0, batchSize)
	for {
		n, err := s.batch.ReadBatch(in, 0)
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("tftpd: receive: %w", err)
		}
		out = out[:0]
		for _, m := range in[:n] {
			from := m.Addr.(*net.UDPAddr)
			if p := s.answer(from.AddrPort(), m.Buffers[0][:m.N]); p != nil {
				out = append(out, ipv4.Message{Buffers: [][]byte{p}, Addr: from})
			}
		}
		s.sendAll(out)
	}
}

// sendAll sends packets. What the kernel does not take is sent again later, as if
// it had been lost on the way.
func (s *sender) sendAll(out []ipv4.Message) {
	for len(out) > 0 {
		n, err := s.batch.WriteBatch(out, 0)
		if err != nil {
			n = 1 // one client that cannot be reached must not stop the others
		}
		out = out[n:]
	}
}

// answer takes one packet and returns the next block to send, if any.
func (s *sender) answer(from netip.AddrPort, p []byte) []byte {
	if len(p) < 4 {
		return nil
	}
	op, n := binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:])
	s.mu.Lock()
	d := s.active[from]
	switch {
	case d == nil:
	case op == opError:
		s.end(d, fmt.Errorf("the client says: error %d: %q", n, p[4:]))
		return nil
	case op == opAck && n == uint16(d.block):
		if d.isLast() {
			s.end(d, nil)
			return nil
		}
		d.next()
		d.tries, d.due = 0, time.Now().Add(s.timeout)
		p = d.packet
		s.mu.Unlock()
		return p
	}
	s.mu.Unlock()
	return nil
}

// end ends a delivery. The caller holds s.mu, which end releases.
func (s *sender) end(d *delivery, err error) {
	delete(s.active, d.job.Client)
	s.mu.Unlock()
	sent := min(d.block*d.blockSize, len(d.data))
	s.finished(d.job, int64(sent), err)
}

// repeat sends what was not acknowledged in time again, and gives clients up.
func (s *sender) repeat(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			s.sendAll(s.overdue(now))
		}
	}
}

func (s *sender) overdue(now time.Time) (out []ipv4.Message) {
	var gone []*delivery
	s.mu.Lock()
	for from, d := range s.active {
		switch {
		case now.Before(d.due):
		case d.tries >= s.retries:
			gone = append(gone, d)
		default:
			d.tries++
			d.due = now.Add(s.timeout + min(time.Duration(d.tries), 4)*s.timeout/4)
			out = append(out, ipv4.Message{Buffers: [][]byte{d.packet}, Addr: net.UDPAddrFromAddrPort(from)})
		}
	}
	s.mu.Unlock()
	s.giveUp(gone, errors.New("the client does not answer"))
	return out
}

func (s *sender) giveUp(list []*delivery, err error) {
	for _, d := range list {
		s.mu.Lock()
		if s.active[d.job.Client] != d {
			s.mu.Unlock() // it answered after all
			continue
		}
		s.end(d, err)
	}
}

// idle reports whether nothing is on its way.
func (s *sender) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.active) == 0
}

// shutDown waits a little for deliveries under way, then cuts the others off.
func (s *sender) shutDown(limit time.Duration) {
	for end := time.Now().Add(limit); !s.idle() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	s.mu.Lock()
	var left []*delivery
	for _, d := range s.active {
		left = append(left, d)
	}
	s.mu.Unlock()
	s.giveUp(left, errors.New("the server is being stopped"))
	_ = s.conn.Close()
}
