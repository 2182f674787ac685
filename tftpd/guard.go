package tftpd

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"sync"
	"time"
)

// repeatTime is for how long after a transfer the same request counts as a
// repetition that was on its way.
const repeatTime = time.Second

// job is a request that was let through, with its file open.
type job struct {
	Request
	request readRequest
	file    *File // nil when the sender has its content
	begun   time.Time
}

// jobKey tells repetitions of a request from another request.
type jobKey struct {
	client netip.AddrPort
	name   string
}

// guard decides which requests get a transfer. As a net.PacketConn it hands them
// to pin/tftp, which sees nothing else of the network but the sockets that it
// opens for its transfers.
type guard struct {
	cfg   Config
	local net.Addr
	ready chan *job
	done  chan struct{}
	close func()

	mu        sync.Mutex // guards the following
	active    map[jobKey]time.Time
	perClient map[netip.Addr]int
	running   int
	opened    map[jobKey]*job // handed to pin/tftp, not yet begun
}

func newGuard(cfg Config, local net.Addr) *guard {
	done := make(chan struct{})
	return &guard{
		cfg: cfg, local: local, ready: make(chan *job), done: done, close: sync.OnceFunc(func() { close(done) }),
		active: make(map[jobKey]time.Time), perClient: make(map[netip.Addr]int), opened: make(map[jobKey]*job),
	}
}

// enter reserves a place for a request, or says why there is none.
func (g *guard) enter(r Request) (Outcome, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := jobKey{r.Client, r.Name}
	if until, ok := g.active[key]; ok && (until.IsZero() || time.Now().Before(until)) {
		return Repeated, false
	}
	if g.running >= g.cfg.MaxTransfers || g.perClient[r.Client.Addr()] >= g.cfg.MaxPerClient {
		return OverLimit, false
	}
	g.active[key] = time.Time{}
	g.perClient[r.Client.Addr()]++
	g.running++
	return "", true
}

// leave gives a request's place back. With answered, a repetition of it that is
// still on its way goes unanswered.
func (g *guard) leave(r Request, answered bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := jobKey{r.Client, r.Name}
	delete(g.active, key)
	if answered {
		g.active[key] = time.Now().Add(repeatTime)
	}
	g.running--
	if g.perClient[r.Client.Addr()]--; g.perClient[r.Client.Addr()] <= 0 {
		delete(g.perClient, r.Client.Addr())
	}
}

// sweep forgets requests whose repetitions cannot be on their way any more.
func (g *guard) sweep(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for key, until := range g.active {
		if !until.IsZero() && now.After(until) {
			delete(g.active, key)
		}
	}
}

// hand gives a job to pin/tftp. It reports false when the server ends.
func (g *guard) hand(ctx context.Context, j *job) bool {
	g.mu.Lock()
	g.opened[jobKey{j.Client, j.Name}] = j
	g.mu.Unlock()
	select {
	case g.ready <- j:
		return true
	case <-ctx.Done():
	case <-g.done:
	}
	return false
}

// take returns the job of the transfer that pin/tftp begins.
func (g *guard) take(key jobKey) *job {
	g.mu.Lock()
	defer g.mu.Unlock()
	j := g.opened[key]
	delete(g.opened, key)
	return j
}

// ReadFrom implements net.PacketConn for pin/tftp: it returns the next request.
func (g *guard) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case j := <-g.ready:
		return copy(p, j.request.encode()), net.UDPAddrFromAddrPort(j.Client), nil
	case <-g.done:
		return 0, nil, net.ErrClosed
	}
}

// WriteTo implements net.PacketConn. Transfers have sockets of their own.
func (g *guard) WriteTo([]byte, net.Addr) (int, error) { return 0, errors.ErrUnsupported }

// Close implements net.PacketConn.
func (g *guard) Close() error {
	g.close()
	return nil
}

// LocalAddr implements net.PacketConn.
func (g *guard) LocalAddr() net.Addr { return g.local }

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
