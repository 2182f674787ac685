package tftpd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/pin/tftp/v3/netascii"
)

// smallFile is how large a file may be, in bytes, that is held in memory as a whole while it is delivered. All
// configuration files are; firmware is not.
const smallFile = 64 << 10

// partSize is how much of a large file is read at once, in bytes; two parts of each are in memory. It is little, since
// all phones of a site may fetch firmware together.
const partSize = 16 << 10

const (
	opData = 3
	opAck  = 4
	// lookEvery is how often unacknowledged blocks are looked for.
	lookEvery = 100 * time.Millisecond
)

// sender delivers files from memory: a phone's whole boot takes no socket and no
// goroutine of its own, where a thousand boot at once. Large files are read ahead by a
// goroutine each, so that nobody waits for the disk but who wants what is on it.
type sender struct {
	timeout  time.Duration
	retries  int
	send     func([]outgoing)
	finished func(j *job, bytes int64, err error)
	rescue   func(r Request, err *error) // deferred where a file is read
	readers  sync.WaitGroup

	mu     sync.Mutex // guards the following
	active map[netip.AddrPort]*delivery
}

// part is a piece of a file: whole blocks, but for the last piece.
type part struct {
	data []byte
	err  error // io.EOF after the file's last piece; another one if the rest cannot be read
}

// delivery is a file on its way.
type delivery struct {
	job       *job
	part      part
	large     bool // its parts are read into the same memory, one after the other
	first     int  // how many blocks were in the parts before
	blockSize int
	packet    message // the last one sent: an OACK or a block
	block     int     // its number, 0 for an OACK
	tries     int
	at, due   time.Time // when it was sent, and when it is sent again

	// Of large files: the next part once it was read, what to read the one after into, and whether the client waits.
	ahead   *part
	want    chan []byte
	waiting bool
}

// start begins to deliver a file and returns the first packet; none if the job has
// ended meanwhile. largest bounds the block size. It has the file closed in the end.
func (s *sender) start(j *job, file *File, largest int) (first message, err error) {
	var reader func()
	defer func() {
		if reader == nil {
			_ = file.Close()
			return
		}
		s.readers.Go(reader)
	}()
	now := time.Now()
	d := &delivery{job: j, blockSize: 512, at: now, due: now.Add(s.timeout)}
	d.packet = d.answerOptions(j.request.options, file.Size, largest)
	if err := d.begin(file); err != nil {
		return message{}, err
	}
	if d.packet.none() {
		d.next()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.over.Load() {
		return message{}, nil
	}
	s.active[j.Client] = d
	if d.part.err == nil {
		d.want = make(chan []byte, 1)
		d.want <- make([]byte, len(d.part.data))
		reader = func() { s.readAhead(d, file) }
	}
	return d.packet, nil
}

// begin reads a small file, or the first part of a large one.
func (d *delivery) begin(file *File) error {
	if d.large = file.Size > smallFile; d.large {
		d.part = readPart(file, make([]byte, max(1, partSize/d.blockSize)*d.blockSize), d.blockSize)
		if len(d.part.data) > 0 || errors.Is(d.part.err, io.EOF) {
			return nil
		}
		return fmt.Errorf("tftpd: %w", d.part.err)
	}
	data, err := contents(file, d.job.request.mode)
	if err != nil {
		return fmt.Errorf("tftpd: %w", err)
	}
	d.part = part{data, io.EOF}
	return nil
}

// readPart fills buf from a file, as far as it can be read.
func readPart(r io.Reader, buf []byte, blockSize int) part {
	n, err := io.ReadFull(r, buf)
	switch {
	case err == nil:
		return part{buf, nil}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return part{buf[:n], io.EOF}
	}
	return part{buf[:n-n%blockSize], err}
}

// readAhead reads the parts of a large file that are wanted, until its delivery ends.
func (s *sender) readAhead(d *delivery, file *File) {
	defer file.Close()
	for buf := range d.want {
		p := s.readPart(d, file, buf)
		s.arrived(d, p)
		if p.err != nil {
			return
		}
	}
}

// readPart does what the function does; a panic there is that file's alone.
func (s *sender) readPart(d *delivery, file *File, buf []byte) (p part) {
	defer s.rescue(d.job.Request, &p.err)
	return readPart(file, buf, d.blockSize)
}

// arrived takes the next part of a large file, and sends its first block to a client that waits for it.
func (s *sender) arrived(d *delivery, p part) {
	s.mu.Lock()
	d.ahead = &p
	if s.active[d.job.Client] != d || !d.waiting {
		s.mu.Unlock()
		return
	}
	if next := s.advance(d); !next.none() {
		s.send([]outgoing{{next, d.job.Client}})
	}
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

// answerOptions returns an OACK (RFC 2347), or none when no option was understood.
func (d *delivery) answerOptions(options []option, size int64, largest int) message {
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
		return message{}
	}
	return whole(append([]byte{0, opOACK}, p...))
}

// next makes the block after the last one.
func (d *delivery) next() {
	from := min((d.block-d.first)*d.blockSize, len(d.part.data))
	to := min(from+d.blockSize, len(d.part.data))
	d.block++
	d.packet = message{[4]byte{0, opData, byte(d.block >> 8), byte(d.block)}, d.part.data[from:to]}
	if d.large {
		d.packet.rest = bytes.Clone(d.packet.rest)
	}
}

// isSent reports whether all blocks of the part were made.
func (d *delivery) isSent() bool { return (d.block-d.first)*d.blockSize >= len(d.part.data) }

// turn goes on to the part that was read ahead, and has the one after it read.
func (d *delivery) turn() {
	buf := d.part.data
	d.first += len(buf) / d.blockSize
	d.part, d.ahead = *d.ahead, nil
	if d.part.err == nil {
		d.want <- buf // there is room: the reader has taken the last one
	}
}

// isLast reports whether the last packet ends the file: a block that is not full.
func (d *delivery) isLast() bool { return d.block > 0 && len(d.packet.rest) < d.blockSize }

// drop ends a job's delivery, if it has one.
func (s *sender) drop(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.active[j.Client]; d != nil && d.job == j {
		s.remove(d)
	}
}

// remove ends a delivery, and its reader. The caller holds s.mu.
func (s *sender) remove(d *delivery) {
	delete(s.active, d.job.Client)
	if d.want != nil {
		close(d.want)
	}
}

// again returns the first packet of a job whose client repeats its request, if it was
// not sent just now.
func (s *sender) again(j *job) message {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.active[j.Client]
	if d == nil || d.job != j || now.Sub(d.at) < s.timeout/4 {
		return message{}
	}
	d.at = now
	return d.packet
}

// answer takes one packet and returns the next block to send, if any. It reports
// whether the packet belongs to a delivery.
func (s *sender) answer(from netip.AddrPort, p []byte) (next message, ok bool) {
	op, n := binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:])
	s.mu.Lock()
	d := s.active[from]
	switch {
	case d == nil:
		s.mu.Unlock()
		return message{}, false
	case op == opError:
		s.end(d, fmt.Errorf("the client says: error %d: %q", n, p[4:]))
		return message{}, true
	case op == opAck && n == uint16(d.block) && !d.waiting:
		d.job.acked.Store(true)
		return s.advance(d), true
	}
	s.mu.Unlock()
	return message{}, true
}

// advance returns what the client gets after its last acknowledgement; none if that is nothing, or is still to be read.
// The caller holds s.mu, which advance releases.
func (s *sender) advance(d *delivery) message {
	if d.isLast() {
		s.end(d, nil)
		return message{}
	}
	if d.isSent() && d.part.err == nil {
		if d.waiting = d.ahead == nil; d.waiting {
			s.mu.Unlock()
			return message{}
		}
		d.turn()
	}
	if d.isSent() && !errors.Is(d.part.err, io.EOF) {
		err := unreadable(d.job, d.part.err)
		s.end(d, err)
		return whole(encodeError(err))
	}
	d.next()
	now := time.Now()
	d.tries, d.at, d.due = 0, now, now.Add(s.timeout)
	next := d.packet
	s.mu.Unlock()
	return next
}

// end ends a delivery. The caller holds s.mu, which end releases.
func (s *sender) end(d *delivery, err error) {
	s.remove(d)
	sent := min(d.block*d.blockSize, d.first*d.blockSize+len(d.part.data))
	s.mu.Unlock()
	s.finished(d.job, int64(sent), err)
}

// repeat sends what was not acknowledged in time, and gives clients up.
func (s *sender) repeat(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			s.send(s.overdue(now))
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
		case d.waiting || now.Before(d.due):
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
