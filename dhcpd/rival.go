package dhcpd

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// How often other servers are searched for, from the beginning of one search to
// that of the next.
const (
	silentEvery = 10 * time.Second // serve soon after the other has gone
	besideEvery = time.Minute      // an intruder answers, or no client is ours yet
	aloneEvery  = 10 * time.Minute
	// hintEvery bounds the searches that messages of others cause: anybody can
	// forge those.
	hintEvery = time.Minute
)

const (
	// seniorFor is how long the search of another newcomer counts: one of its
	// periods, and some more.
	seniorFor = silentEvery + searchTime
	// yieldTime is how long we let other newcomers go first who then do not answer.
	yieldTime = 30 * time.Second
	// foreignFor is how long a server is shown that clients chose and that does not
	// answer us.
	foreignFor = time.Hour
)

// Rival is another DHCP server that answers our search.
type Rival struct {
	ServerID netip.Addr
	MAC      net.HardwareAddr
	// Port is where the network saw that machine when it was a client itself: option
	// 82 as a switch or relay added it, in hexadecimal. Empty: it was not told.
	Port  string
	Since time.Time // wall clock
	Seen  time.Time // wall clock
}

// Foreign is a server that a client has chosen, says the client, and that does not
// answer our search. It is only a hint: anybody can send such a message.
type Foreign struct {
	ServerID netip.Addr
	Client   net.HardwareAddr
	Seen     time.Time // wall clock
	told     time.Time // wall clock, when the log was told; zero: no search was made since
}

// rivalry is what is known of other servers. The server's mutex guards it.
type rivalry struct {
	rivals   map[netip.Addr]Rival
	searches uint64
	seenIn   map[netip.Addr]uint64 // the search that a rival has answered last
	foreign  map[netip.Addr]Foreign
	ports    map[mac]string // option 82 of clients
	// earlier is what was remembered of before the start, or stored since.
	earlier  Served
	card     net.HardwareAddr
	hasBound bool // a lease since the start
	// senior is another newcomer that searches too and goes first.
	senior     net.HardwareAddr
	seniorSeen time.Time // server's time
	yielding   time.Time // since when it is let go first; zero: it is not
}

func newRivalry() rivalry {
	return rivalry{
		rivals: make(map[netip.Addr]Rival), seenIn: make(map[netip.Addr]uint64),
		foreign: make(map[netip.Addr]Foreign), ports: make(map[mac]string),
	}
}

// searchRequest is closed when a search has ended that began after it was sent.
type searchRequest chan struct{}

// Search searches for other servers now, beside the searches that the server makes
// by itself, and returns those that answer. It takes four to sixteen seconds.
func (s *Server) Search(ctx context.Context) ([]Rival, error) {
	done := make(searchRequest)
	select {
	case s.requests <- done:
	case <-ctx.Done():
		return nil, fmt.Errorf("dhcpd: search for other servers: %w", ctx.Err())
	}
	select {
	case <-done:
		return s.Status().Rivals, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("dhcpd: search for other servers: %w", ctx.Err())
	}
}

// watchRivals lets the server serve or not. Who was first stays: a server that has
// served this LAN goes on when another one appears, and says so; one that starts
// where another answers is silent until that one has gone.
func (s *Server) watchRivals(ctx context.Context, c *searchConn) error {
	heard := make(chan error, 1)
	go func() { heard <- s.hearAnswers(ctx, c) }()
	force := s.plan().Force
	s.mu.RLock()
	first := force || s.precedes()
	s.mu.RUnlock()
	if first {
		s.setServing("")
	} else {
		s.setReason("asking whether another DHCP server is on this LAN")
	}
	var lastHint time.Time
	var waiting []searchRequest
	for search := !force; ; search = true {
		began := time.Now()
		if search {
			if err := s.search(ctx, c); err != nil {
				return err
			}
			for _, done := range waiting {
				close(done)
			}
			waiting = nil
		}
		due := began.Add(s.pause())
		for again := false; !again; {
			next := time.NewTimer(time.Until(due))
			select {
			case <-ctx.Done():
				return nil
			case err := <-heard:
				return err
			case done := <-s.requests:
				waiting, again = append(waiting, done), true
			case <-s.suspect.C():
				due, lastHint = afterHint(time.Now(), due, lastHint)
			case <-next.C:
				again = true
			}
			next.Stop()
		}
	}
}

// afterHint returns when to search next because of a hint, and what is its time then: at once, or hintEvery after the
// last search of this kind; no later than was due anyway.
func afterHint(now, due, last time.Time) (next, hint time.Time) {
	at := last.Add(hintEvery)
	if at.Before(now) {
		at = now
	}
	if !at.Before(due) {
		return due, last
	}
	return at, at
}

// pause is the time from the beginning of a search to the next one's.
func (s *Server) pause() time.Duration {
	s.mu.RLock()
	defer s.mu.RUnlock()
	pause := aloneEvery
	switch {
	case !s.serving:
		pause = silentEvery
	case len(s.rivals) > 0:
		pause = besideEvery
	case s.table.plan.Force:
		return 365 * 24 * time.Hour // only when there is a reason
	case !s.precedes():
		pause = besideEvery
	}
	return pause + mrand.N(pause/8) // two of us that start together must not ask together for ever
}

// search asks for other servers and judges by the answers. A rival that was there
// counts as gone when it leaves two searches in a row unanswered.
func (s *Server) search(ctx context.Context, c *searchConn) error {
	s.mu.RLock()
	attempts := 1 + min(len(s.rivals), 1)
	s.mu.RUnlock()
	first := s.beginSearch()
	for range attempts {
		if err := c.run(ctx, s.plan().Disguise, func() bool { return s.answeredSince(first) }); err != nil {
			return err
		}
		if ctx.Err() != nil || s.answeredSince(first) {
			break
		}
	}
	if ctx.Err() == nil {
		s.conclude(first)
	}
	return nil
}

func (s *Server) beginSearch() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.searches++
	return s.searches
}

// answeredSince reports whether a rival has answered since a search began.
func (s *Server) answeredSince(search uint64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, in := range s.seenIn {
		if in >= search {
			return true
		}
	}
	return false
}

// conclude forgets the servers that have not answered the search, and serves if
// none is left.
func (s *Server) conclude(search uint64) {
	now := s.clock.now()
	s.mu.Lock()
	for id, in := range s.seenIn {
		if in < search {
			delete(s.rivals, id)
			delete(s.seenIn, id)
		}
	}
	foreign := s.silentForeign()
	alone := len(s.rivals) == 0
	wait := ""
	if alone && !s.serving && s.yields(now) {
		wait = fmt.Sprintf("another appliance (%v) starts on this LAN too and goes first; it is searched for again every %v", s.senior, silentEvery)
	}
	s.unlock()
	for _, f := range foreign {
		s.log.Warn("a client chose a DHCP server that does not answer our search", "server", f.ServerID, "client", f.Client.String())
	}
	if alone {
		s.setServing(wait)
	}
}

// yields reports whether another newcomer is let go first. Of two that start
// together the one with the lower MAC serves; the other finds it by its next search.
// A search can be forged, so nobody is waited for longer than yieldTime. The caller
// holds s.mu.
func (s *Server) yields(now time.Time) bool {
	if s.precedes() || s.senior == nil || now.Sub(s.seniorSeen) > seniorFor {
		return false
	}
	if s.yielding.IsZero() {
		s.yielding = now
	}
	return now.Sub(s.yielding) < yieldTime
}

func (s *Server) hearAnswers(ctx context.Context, c *searchConn) error {
	for {
		a, err := c.next()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("dhcpd: hear other servers on %s: %w", c.ifi.Name, err)
		}
		p := s.plan()
		switch a.judge(p.ServerID, p.Peers) {
		case meansRival:
			s.rivalAnswered(a)
		case meansSearch:
			s.searchSoon()
		}
	}
}

// searchSoon has other servers searched for at once, or a while after the last
// search of this kind.
func (s *Server) searchSoon() {
	s.suspect.Notify()
}

// rivalAnswered notes a server that answers our search. Unless we were first we are
// silent at once.
func (s *Server) rivalAnswered(a answer) {
	now := s.opts.Wall()
	s.mu.Lock()
	r, known := s.rivals[a.serverID]
	if !known && len(s.rivals) >= maxRivals {
		s.unlock()
		return
	}
	if !known {
		r = Rival{ServerID: a.serverID, Since: now}
	}
	r.MAC, r.Seen = a.from, now
	if m, ok := toMAC(a.from); ok {
		r.Port = s.ports[m]
	}
	s.rivals[a.serverID], s.seenIn[a.serverID] = r, s.searches
	delete(s.foreign, a.serverID)
	goesOn := s.table.plan.Force || s.precedes()
	why := "another DHCP server answers on this LAN: " + sortedRivals(s.rivals)[0].String()
	s.unlock()
	if !goesOn {
		s.setServing(why)
	}
	if !known {
		detail := "it was here first, so ours is silent"
		if goesOn {
			detail = "ours was here first and goes on"
		}
		s.tell(s.opts.Wall(), Event{Type: EventRival, MAC: r.MAC, Addr: r.ServerID, Circuit: r.Port, Detail: detail})
	}
}

// String names the server for an operator.
func (r Rival) String() string {
	if r.Port != "" {
		return fmt.Sprintf("%v (%v, at port %s)", r.ServerID, r.MAC, r.Port)
	}
	return fmt.Sprintf("%v (%v)", r.ServerID, r.MAC)
}

func sortedRivals(m map[netip.Addr]Rival) []Rival {
	if len(m) == 0 { // as a rule: this is asked for with every change
		return nil
	}
	return slices.SortedFunc(maps.Values(m), func(a, b Rival) int { return a.ServerID.Compare(b.ServerID) })
}

// hearQuery learns of other servers from what a client sends, and answers the
// search of another appliance; done reports that the message was one. The caller
// holds s.mu.
func (s *Server) hearQuery(now time.Time, q query) (out []outgoing, done bool) {
	s.notePort(q)
	if s.searchOfAnother(now, q) {
		if q.net = s.table.plan.network(&q); s.serving && q.net != nil {
			out = []outgoing{{reply: s.table.reply(&q, dhcpv4.MessageTypeOffer, s.table.plan.RangeFirst), arrived: now}}
		}
		return out, true
	}
	if s.serving {
		s.noteChoice(q)
	}
	return nil, false
}

// searchOfAnother reports whether a message is the search of another appliance. It
// takes no place of the pool, so that it is answered when the pool is full, and it
// is no client. Among newcomers the lower MAC is the senior.
func (s *Server) searchOfAnother(now time.Time, q query) bool {
	if q.MessageType() != dhcpv4.MessageTypeDiscover {
		return false
	}
	class := q.userClass
	if len(class) < 1 || int(class[0]) != len(class)-1 {
		return false
	}
	switch string(class[1:]) {
	case userClassDisguise:
	case userClassSearch:
		if !q.giaddr.IsValid() && s.card != nil && bytes.Compare(q.mac[:], s.card) < 0 {
			s.senior, s.seniorSeen = q.mac.hw(), now
		}
	default:
		return false
	}
	return true
}

// notePort remembers where the network saw a client, for the day when it answers
// as a server. The caller holds s.mu.
func (s *Server) notePort(q query) {
	const most = 4096
	relay := q.relayInfo
	if relay == nil || len(relay) > 128 {
		return
	}
	if _, known := s.ports[q.mac]; !known && len(s.ports) >= most {
		return
	}
	s.ports[q.mac] = fmt.Sprintf("%x", relay)
}

// noteChoice notes that a client has taken the offer of another server. Answers to
// others may pass us by on a switch, but such a REQUEST is broadcast. The caller
// holds s.mu.
func (s *Server) noteChoice(q query) {
	p := s.table.plan
	id := q.serverID
	if q.MessageType() != dhcpv4.MessageTypeRequest || !id.IsValid() || id == p.ServerID || slices.Contains(p.Peers, id) || !p.Subnet.Contains(q.requested) {
		return
	}
	if _, rival := s.rivals[id]; !rival {
		if f, known := s.foreign[id]; known || len(s.foreign) < maxRivals {
			s.foreign[id] = Foreign{ServerID: id, Client: q.mac.hw(), Seen: s.opts.Wall(), told: f.told}
		}
	}
	s.searchSoon()
}

// silentForeign returns the servers that clients have chosen lately, each once in
// foreignFor, and forgets old ones. The caller holds s.mu, after a search.
func (s *Server) silentForeign() (out []Foreign) {
	now := s.opts.Wall()
	for id, f := range s.foreign {
		if now.Sub(f.Seen) > foreignFor {
			delete(s.foreign, id)
			continue
		}
		if now.Sub(f.told) > foreignFor {
			f.told = now
			s.foreign[id] = f
			out = append(out, f)
		}
	}
	return out
}

// setServing lets the server answer, or not for the reason given.
func (s *Server) setServing(why string) {
	s.mu.Lock()
	changed := s.serving != (why == "") || s.reason != why
	s.serving, s.reason, s.starting = why == "", why, false
	if s.serving || len(s.rivals) > 0 {
		s.yielding = time.Time{}
	}
	s.unlock()
	switch {
	case !changed:
	case why == "":
		s.log.Info("serving DHCP")
	default:
		s.log.Warn("not serving DHCP", "reason", why)
	}
}

// setReason says why the server is silent at first.
func (s *Server) setReason(why string) {
	s.mu.Lock()
	defer s.unlock()
	s.reason, s.starting = why, true
}
