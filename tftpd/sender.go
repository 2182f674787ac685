package tftpd

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/pin/tftp/v3/netascii"
)

// smallFile is how large a file may be, in bytes, that the sender delivers. All
// configuration files are; firmware is not, and goes through pin/tftp.
const smallFile = 64 << 10

const (
	opData = 3
	opAck  = 4
	// lookEvery is how often unacknowledged blocks are looked for.
	lookEvery = 100 * time.Millisecond
)

// sender delivers small files from memory: a phone's whole boot
// takes no socket and no goroutine of its own, where a thousand boot at once.
type sender struct {
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
	at, due   time.Time // when it was sent, and when it is sent again
}

func newSender(cfg Config, finished func(*job, int64, error)) *sender {
	return &sender{timeout: cfg.Timeout, retries: cfg.Retries, finished: finished, active: make(map[netip.AddrPort]*delivery)}
}

// start begins to deliver a file and returns the first packet; nil if the job has
// ended meanwhile. largest bounds the block size.
func (s *sender) start(j *job, file *File, largest int) ([]byte, error) {
	data, err := contents(file, j.request.mode)
	if err != nil {
		return nil, fmt.Errorf("tftpd: %w", err)
	}
	now := time.Now()
	d := &delivery{job: j, data: data, blockSize: 512, at: now, due: now.Add(s.timeout)}
	d.packet = d.answerOptions(j.request.options, file.Size, largest)
	if d.packet == nil {
		d.next()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.over.Load() {
		return nil, nil
	}
	s.active[j.Client] = d
	return d.packet, nil
}

// contents returns what a small file holds, in the mode that the client wants.
func contents(file *File, mode string) ([]byte, error) {
	if mode == "octet" && file.content != nil {
		return file.content, nil
	}
	r := io.LimitReader(file, smallFile)
	if mode == "netascii" {
		r = netascii.ToReader(r)
	}
	return readAll(r, file.Size)
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

// drop ends a job's delivery, if it has one.
func (s *sender) drop(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.active[j.Client]; d != nil && d.job == j {
		delete(s.active, j.Client)
	}
}

// again returns the first packet of a job whose client repeats its request, if it was
// not sent just now.
func (s *sender) again(j *job) []byte {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.active[j.Client]
	if d == nil || d.job != j || now.Sub(d.at) < s.timeout/4 {
		return nil
	}
	d.at = now
	return d.packet
}

// answer takes one packet and returns the next block to send, if any. It reports
// whether the packet belongs to a delivery.
func (s *sender) answer(from netip.AddrPort, p []byte) (next []byte, ok bool) {
	op, n := binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:])
	s.mu.Lock()
	d := s.active[from]
	switch {
	case d == nil:
		s.mu.Unlock()
		return nil, false
	case op == opError:
		s.end(d, fmt.Errorf("the client says: error %d: %q", n, p[4:]))
		return nil, true
	case op == opAck && n == uint16(d.block):
		d.job.acked.Store(true)
		if d.isLast() {
			s.end(d, nil)
			return nil, true
		}
		d.next()
		now := time.Now()
		d.tries, d.at, d.due = 0, now, now.Add(s.timeout)
		next = d.packet
	}
	s.mu.Unlock()
	return next, true
}

// end ends a delivery. The caller holds s.mu, which end releases.
func (s *sender) end(d *delivery, err error) {
	delete(s.active, d.job.Client)
	s.mu.Unlock()
	sent := min(d.block*d.blockSize, len(d.data))
	s.finished(d.job, int64(sent), err)
}

// repeat hands what was not acknowledged in time to send, and gives clients up.
func (s *sender) repeat(ctx context.Context, send func([]outgoing)) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			send(s.overdue(now))
		}
	}
}

func (s *sender) overdue(now time.Time) (out []outgoing) {
	var silent []*delivery
	s.mu.Lock()
	for from, d := range s.active {
		retries := s.retries
		if !d.job.acked.Load() {
			retries = min(retries, maxUnanswered-1)
		}
		switch {
		case now.Before(d.due):
		case d.tries >= retries:
			silent = append(silent, d)
		default:
			d.tries++
			d.at, d.due = now, now.Add(s.timeout+min(time.Duration(d.tries), 4)*s.timeout/4)
			out = append(out, outgoing{d.packet, from})
		}
	}
	s.mu.Unlock()
	for _, d := range silent {
		s.mu.Lock()
		if s.active[d.job.Client] != d {
			s.mu.Unlock() // it answered after all
			continue
		}
		s.end(d, errNoAnswer)
	}
	return out
}
