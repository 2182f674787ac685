package pbx

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/pbx/ami"
)

// Line is one account of the exchange as it is now.
type Line struct {
	Registrations []Registration // by URI
	InCall        bool
	// State is Asterisk's own word, such as "Not in use" or "Unavailable".
	State string
}

// Registered reports whether a device is registered for it.
func (l Line) Registered() bool { return len(l.Registrations) > 0 }

// observation is the state of the exchange at one moment.
type observation struct {
	lines map[string]Line // every endpoint, ours or not
	calls int
	now   []Call
	at    time.Time
}

// asker asks Asterisk, as *ami.Client does.
type asker interface {
	Do(ctx context.Context, a ami.Action) (ami.Message, error)
	List(ctx context.Context, a ami.Action) ([]ami.Message, error)
}

// observe queries the whole state. The content of an event is not kept: an event only makes the next query due.
func observe(ctx context.Context, m asker, now time.Time) (observation, error) {
	endpoints, err := m.List(ctx, ami.NewAction("PJSIPShowEndpoints"))
	if err != nil {
		return observation{}, err
	}
	contacts, err := m.List(ctx, ami.NewAction("PJSIPShowContacts"))
	if err != nil {
		return observation{}, err
	}
	core, err := m.Do(ctx, ami.NewAction("CoreStatus"))
	if err != nil {
		return observation{}, err
	}
	s := observation{lines: make(map[string]Line, len(endpoints)), at: now}
	channels, _ := strconv.Atoi(core.Get("CoreCurrentCalls")) // which are what Asterisk counts there
	if channels > 0 {
		list, err := m.List(ctx, ami.NewAction("CoreShowChannels"))
		if err != nil {
			return observation{}, err
		}
		s.now = callsNow(list, now)
		s.calls = len(s.now)
	}
	for _, e := range endpoints {
		state := e.Get("DeviceState")
		s.lines[e.Get("ObjectName")] = Line{State: state, InCall: inCall(state)}
	}
	for _, c := range contacts {
		r := registration(c)
		l, ok := s.lines[r.Extension]
		if !ok {
			continue // of an endpoint that is being removed
		}
		l.Registrations = append(l.Registrations, r)
		s.lines[r.Extension] = l
	}
	for _, l := range s.lines {
		slices.SortFunc(l.Registrations, func(a, b Registration) int { return strings.Compare(a.URI, b.URI) })
	}
	return s, nil
}

// inCall tells device states (Asterisk's devicestate.c, ast_devstate2str) in which somebody talks.
func inCall(state string) bool {
	switch state {
	case "In use", "Busy", "On Hold", "Ring+Inuse":
		return true
	}
	return false
}

// registration reads a ContactList event.
func registration(m ami.Message) Registration {
	r := Registration{Extension: m.Get("Endpoint"), URI: m.Get("Uri"), UserAgent: plain(m.Get("UserAgent"))}
	addr, err := netip.ParseAddr(strings.Trim(m.Get("ViaAddr"), "[]"))
	port, portErr := strconv.ParseUint(m.Get("ViaPort"), 10, 16)
	if err == nil && portErr == nil {
		r.Remote = netip.AddrPortFrom(addr.Unmap(), uint16(port))
	}
	if at, ok := addrOfURI(r.URI); ok {
		r.Remote = at // with rewrite_contact it is where the packets come from, not what the device believes
	}
	switch m.Get("Status") {
	case "Reachable":
		r.Reach = Reachable
	case "Unreachable":
		r.Reach = Unreachable
	default:
		r.Reach = Unknown
	}
	if usec, err := strconv.ParseInt(m.Get("RoundtripUsec"), 10, 64); err == nil && usec > 0 && r.Reach == Reachable {
		r.RoundTrip = time.Duration(usec) * time.Microsecond
	}
	if sec, err := strconv.ParseInt(m.Get("ExpirationTime"), 10, 64); err == nil && sec > 0 {
		r.Expires = time.Unix(sec, 0)
	}
	return r
}

// addrOfURI reads the address out of a contact such as sip:100@192.168.1.20:5060;transport=tcp.
func addrOfURI(uri string) (netip.AddrPort, bool) {
	_, host, ok := strings.Cut(uri, "@")
	if !ok {
		return netip.AddrPort{}, false
	}
	host, _, _ = strings.Cut(host, ";")
	if !strings.Contains(strings.TrimPrefix(host, "["), ":") {
		host += ":5060"
	}
	at, err := netip.ParseAddrPort(host)
	return at, err == nil
}

// plain leaves of what a device says of itself what can be printed, and not too much of it.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
	return fmt.Sprintf("%.120s", s)
}

// securityKinds are the events of Asterisk that say that somebody was refused.
var securityKinds = map[string]SecurityKind{
	"ChallengeResponseFailed": WrongSecret,
	"InvalidPassword":         WrongSecret,
	"InvalidAccountID":        UnknownExtension,
	"FailedACL":               Forbidden,
	"RequestNotAllowed":       Forbidden,
	"SessionLimit":            Forbidden,
	"LoadAverageLimit":        Forbidden,
	"MemoryLimit":             Forbidden,
	"InvalidTransport":        Forbidden,
	"AuthMethodNotAllowed":    Forbidden,
	"RequestBadFormat":        Malformed,
	"RequestNotSupported":     Malformed,
	"UnexpectedAddress":       Malformed,
}

// securityEvent reads an event of the class security; false: it is none, or says that all is well.
func securityEvent(m ami.Message, now time.Time) (SecurityEvent, bool) {
	kind, ok := securityKinds[m.Event()]
	if !ok {
		return SecurityEvent{}, false
	}
	e := SecurityEvent{Kind: kind, Event: m.Event(), Service: m.Get("Service"), Account: plain(m.Get("AccountID")), Time: now}
	if sender, ok := securitySender(m); ok {
		e.Transport, e.Remote = remote(sender)
	}
	return e, true
}

// senderKeys are the lines of a security event around its sender, in Asterisk's order.
var senderKeys = []string{"AccountID", "SessionID", "LocalAddress", "RemoteAddress"}

// securitySender returns the sender of a security event as Asterisk wrote it. An account is what the caller says, with
// line breaks in it if the caller escapes them (sip:1%0aRemoteAddress%3a…), so that it can make lines of its own and
// even end the event early. It is too short (36 bytes) for all of the lines that follow it, though: an event in which
// they are not all there, once and in their order, is of nobody.
func securitySender(m ami.Message) (string, bool) {
	at := 0
	for i, f := range m {
		for j, key := range senderKeys {
			if !strings.EqualFold(f.Key, key) {
				continue
			}
			if j != at || j > 0 && !strings.EqualFold(m[i-1].Key, senderKeys[j-1]) {
				return "", false
			}
			at++
		}
	}
	if at != len(senderKeys) {
		return "", false
	}
	if _, local := remote(m.Get("LocalAddress")); !local.IsValid() {
		return "", false
	}
	return m.Get("RemoteAddress"), true
}

// remote reads an address as security events have it: IPV4/UDP/192.168.1.20/5060.
func remote(text string) (transport string, at netip.AddrPort) {
	parts := strings.Split(text, "/")
	if len(parts) != 4 || parts[0] != "IPV4" && parts[0] != "IPV6" {
		return "", netip.AddrPort{}
	}
	addr, err := netip.ParseAddr(strings.Trim(parts[2], "[]"))
	port, portErr := strconv.ParseUint(parts[3], 10, 16)
	if err != nil || portErr != nil {
		return strings.ToLower(parts[1]), netip.AddrPort{}
	}
	return strings.ToLower(parts[1]), netip.AddrPortFrom(addr.Unmap(), uint16(port))
}

// RoundTrip is the time that the slowest device took to answer; 0: not known.
func (l Line) RoundTrip() time.Duration {
	var slowest time.Duration
	for _, r := range l.Registrations {
		slowest = max(slowest, r.RoundTrip)
	}
	return slowest
}

// Outside lists the addresses of registered devices that are not on the LAN, in order.
func (s State) Outside(lan netip.Prefix) []netip.Addr {
	var out []netip.Addr
	for _, line := range s.Lines {
		for _, r := range line.Registrations {
			if from := r.Remote.Addr().Unmap(); from.IsValid() && !from.IsLoopback() && !lan.Masked().Contains(from) && !slices.Contains(out, from) {
				out = append(out, from)
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}
