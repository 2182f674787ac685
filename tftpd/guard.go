package tftpd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// strangersShare is the part of all places that clients who are not known may have.
	strangersShare = 4
	// maxUnanswered is how often the first packet of a transfer is sent before it is given
	// up: who has asked and is there answers, or asks again.
	maxUnanswered = 3
	// waiting is how many packets may wait for pin/tftp.
	waiting = 4096
)

// job is a request that was let through.
type job struct {
	Request
	request readRequest
	begun   time.Time
	known   bool // see Options.Known

	id      uint32      // for pin/tftp; 0: it does not deliver this one. Guarded by guard.mu
	file    *File       // set before pin/tftp has the job
	claimed atomic.Bool // by who closes the file
	acked   atomic.Bool // the client has answered
	unread  atomic.Bool // the file could not be read to its end
	over    atomic.Bool // counted, and its place given back
	sent    int         // how often before the client has answered; of pin/tftp's goroutine
}

// same reports whether a request repeats that of a job.
func (j *job) same(r readRequest) bool {
	return j.request.name == r.name && j.request.mode == r.mode && slices.Equal(j.request.options, r.options)
}

// guard decides which requests get a transfer. A client has one at a time from one
// port, as its packets could not be told apart.
//
// As a net.PacketConn it is all that pin/tftp sees of the network. Each transfer has an
// address that is made up there, so that nothing of one reaches the next one of the
// same client, and nothing is left open when one cannot begin.
type guard struct {
	cfg   Config
	send  func(p []byte, to netip.AddrPort)    // never waits
	gone  func(j *job, bytes int64, err error) // ends a job
	in    chan packet
	done  chan struct{}
	close func()

	mu        sync.Mutex // guards the following
	active    map[netip.AddrPort]*job
	perClient map[netip.Addr]int
	strangers int
	byID      map[uint32]*job
	lastID    uint32
}

// packet is one for pin/tftp.
type packet struct {
	id   uint32
	data []byte
}

func newGuard(cfg Config, send func([]byte, netip.AddrPort), gone func(*job, int64, error)) *guard {
	done := make(chan struct{})
	return &guard{
		cfg: cfg, send: send, gone: gone, in: make(chan packet, waiting), done: done, close: sync.OnceFunc(func() { close(done) }),
		active: make(map[netip.AddrPort]*job), perClient: make(map[netip.Addr]int), byID: make(map[uint32]*job),
	}
}

// enter reserves a place for a job, or says why there is none. old is the job that the
// client has from the same port: with a place for the new one it has none any more.
func (g *guard) enter(j *job) (why Outcome, old *job) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old = g.active[j.Client]
	if old != nil {
		if !old.acked.Load() && old.same(j.request) {
			return Repeated, old
		}
		g.remove(old) // the client has begun again
	}
	if len(g.active) >= g.cfg.MaxTransfers || g.perClient[j.Client.Addr()] >= g.cfg.MaxPerClient ||
		!j.known && g.strangers >= max(1, g.cfg.MaxTransfers/strangersShare) {
		return OverLimit, old
	}
	g.active[j.Client] = j
	g.perClient[j.Client.Addr()]++
	if !j.known {
		g.strangers++
	}
	return "", old
}

// leave gives a job's place back.
func (g *guard) leave(j *job) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.active[j.Client] == j {
		g.remove(j)
	}
}

// remove gives a job's place back. The caller holds g.mu.
func (g *guard) remove(j *job) {
	delete(g.active, j.Client)
	if g.perClient[j.Client.Addr()]--; g.perClient[j.Client.Addr()] <= 0 {
		delete(g.perClient, j.Client.Addr())
	}
	if !j.known {
		g.strangers--
	}
}

// jobs returns all that have a place.
func (g *guard) jobs() []*job {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]*job, 0, len(g.active))
	for _, j := range g.active {
		out = append(out, j)
	}
	return out
}

// hand gives a job to pin/tftp, unless it has ended.
func (g *guard) hand(j *job, file *File) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if j.over.Load() {
		_ = file.Close()
		return
	}
	for g.lastID++; g.lastID == 0 || g.byID[g.lastID] != nil; g.lastID++ {
	}
	j.id, j.file = g.lastID, file
	g.byID[j.id] = j
	g.deliver(packet{j.id, j.request.encode()})
}

// deliver has pin/tftp read a packet. One too many is lost, as on the network.
func (g *guard) deliver(p packet) {
	select {
	case g.in <- p:
	default:
	}
}

// take returns the job of a transfer that pin/tftp begins, for its goroutine to close its file; nil if it has ended.
func (g *guard) take(id uint32) *job {
	g.mu.Lock()
	defer g.mu.Unlock()
	if j := g.byID[id]; j != nil && j.claimed.CompareAndSwap(false, true) {
		return j
	}
	return nil
}

// forget drops what pin/tftp has sent all of.
func (g *guard) forget(id uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.byID, id)
}

// stop has pin/tftp end the transfer of a job.
func (g *guard) stop(j *job) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if j.id != 0 {
		g.deliver(packet{j.id, encodeError(errStopped)})
	}
}

// stopAll has pin/tftp end all its transfers.
func (g *guard) stopAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id := range g.byID {
		g.deliver(packet{id, encodeError(errStopped)})
	}
}

// closeFiles closes the files of jobs that pin/tftp did not begin any more.
func (g *guard) closeFiles() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, j := range g.byID {
		if j.claimed.CompareAndSwap(false, true) {
			_ = j.file.Close()
		}
	}
}

var errStopped = &protocolError{text: "stopped"}

// answered takes a client's packet for one of pin/tftp's transfers.
func (g *guard) answered(from netip.AddrPort, p []byte) {
	g.mu.Lock()
	j := g.active[from]
	id := uint32(0)
	if j != nil {
		id = j.id
	}
	g.mu.Unlock()
	if id == 0 {
		return
	}
	if binary.BigEndian.Uint16(p) == opAck {
		j.acked.Store(true)
	}
	g.deliver(packet{id, bytes.Clone(p)})
}

// ReadFrom implements net.PacketConn for pin/tftp.
func (g *guard) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case m := <-g.in:
		return copy(p, m.data), addressOf(m.id), nil
	default:
	}
	select {
	case m := <-g.in:
		return copy(p, m.data), addressOf(m.id), nil
	case <-g.done:
		time.Sleep(time.Millisecond) // pin/tftp reads again until its last transfer has ended
		return 0, nil, os.ErrDeadlineExceeded
	}
}

// addressOf is the address that a transfer has for pin/tftp.
func addressOf(id uint32) *net.UDPAddr {
	return &net.UDPAddr{IP: binary.BigEndian.AppendUint32(nil, id), Port: 1}
}

func idOf(a *net.UDPAddr) uint32 { return binary.BigEndian.Uint32(a.IP.To4()) }

// WriteTo implements net.PacketConn for pin/tftp. A job that is over sends nothing more. Of errors, only that a file
// could not be read is for the client: pin/tftp also sends it its own error back, and one for want of an answer.
func (g *guard) WriteTo(p []byte, to net.Addr) (int, error) {
	g.mu.Lock()
	j := g.byID[idOf(to.(*net.UDPAddr))]
	g.mu.Unlock()
	if j == nil || j.over.Load() || binary.BigEndian.Uint16(p) == opError && !j.unread.Load() {
		return len(p), nil
	}
	if !j.acked.Load() {
		if j.sent++; j.sent > min(maxUnanswered, g.cfg.Retries+1) {
			g.gone(j, 0, errNoAnswer)
			g.stop(j)
			return len(p), nil
		}
	}
	g.send(p, j.Client)
	return len(p), nil
}

var (
	errNoAnswer = errors.New("the client does not answer")
	errAgain    = errors.New("the client has asked again")
	errShutDown = errors.New("the server is being stopped")
)

// Close implements net.PacketConn.
func (g *guard) Close() error {
	g.close()
	return nil
}

// LocalAddr implements net.PacketConn.
func (g *guard) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4zero} }

// SetDeadline implements net.PacketConn.
func (g *guard) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.PacketConn.
func (g *guard) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.PacketConn.
func (g *guard) SetWriteDeadline(time.Time) error { return nil }

// refusal is what a client is told about a file that cannot be opened.
func refusal(err error) (Outcome, *protocolError) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return NotFound, &protocolError{code: codeNotFound, text: "file not found"}
	case errors.Is(err, fs.ErrPermission):
		return Denied, &protocolError{code: codeDenied, text: "access violation"}
	}
	return Failed, &protocolError{code: codeUndefined, text: "the file cannot be read"}
}

// unreadable notes that a file could not be read to its end.
func unreadable(j *job, err error) error {
	j.unread.Store(true)
	return fmt.Errorf("tftpd: %w", err)
}
