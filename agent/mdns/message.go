package mdns

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// ttl is for a record that has an address (RFC 6762 section 10); a resolver of the old kind keeps it for a moment
	// only (section 6.7).
	ttl, legacyTTL = 120, 10
	// unicast in a question's class asks for an answer to the asker alone; flush in a record's says that there is no
	// other one (sections 5.4 and 10.2).
	unicast, flush = 1 << 15, 1 << 15
	// typeNSEC says which types a name has (RFC 4034 section 4).
	typeNSEC = dnsmessage.Type(47)
	// maxQuestions bounds what is read of a query.
	maxQuestions = 64
)

// record is the one that we answer with.
type record struct {
	name dnsmessage.Name
	addr netip.Addr
}

func newRecord(name string, addr netip.Addr) (record, error) {
	n, err := dnsmessage.NewName(name + ".")
	return record{n, addr}, err
}

// message is what a packet says of a record's name.
type message struct {
	id       uint16
	response bool
	question dnsmessage.Question // about the name; Type 0: there is none
	probe    []byte              // the address that somebody proposes for the name (section 8.2)
	known    bool                // the asker knows our record
	conflict bool                // somebody says that the name has another address
}

// read finds out what a packet says of the record's name. ok is false for what is not DNS, and for what is not of mDNS.
func (r record) read(packet []byte) (m message, ok bool) {
	var p dnsmessage.Parser
	h, err := p.Start(packet)
	if err != nil || h.OpCode != 0 || h.RCode != 0 {
		return m, false
	}
	m.id, m.response = h.ID, h.Response
	for range maxQuestions {
		q, err := p.Question()
		if err == dnsmessage.ErrSectionDone {
			break
		} else if err != nil {
			return m, false
		}
		if r.is(q.Name) && (q.Class&^unicast == dnsmessage.ClassINET || q.Class&^unicast == dnsmessage.ClassANY) && m.question.Type != dnsmessage.TypeA && m.question.Type != dnsmessage.TypeALL {
			m.question = q
		}
	}
	if p.SkipAllQuestions() != nil {
		return m, false
	}
	answers, err := p.AllAnswers()
	if err != nil {
		return m, false
	}
	for _, a := range answers {
		ours, lives := r.isOurs(a)
		m.known = m.known || ours && lives
		m.conflict = m.conflict || h.Response && a.Header.TTL > 0 && r.isOther(a)
	}
	if authorities, err := p.AllAuthorities(); err == nil && !h.Response {
		for _, a := range authorities {
			if d := data(a); r.is(a.Header.Name) && d != nil {
				m.probe = d
			}
		}
	}
	return m, true
}

func (r record) is(name dnsmessage.Name) bool {
	return strings.EqualFold(name.String(), r.name.String())
}

// isOurs tells our record, and whether it is good for half of its time still (section 7.1).
func (r record) isOurs(a dnsmessage.Resource) (ours, lives bool) {
	v4, ok := a.Body.(*dnsmessage.AResource)
	ours = ok && r.is(a.Header.Name) && netip.AddrFrom4(v4.A) == r.addr
	return ours, ours && a.Header.TTL >= ttl/2
}

func (r record) isOther(a dnsmessage.Resource) bool {
	ours, _ := r.isOurs(a)
	return r.is(a.Header.Name) && data(a) != nil && !ours
}

// data is the address of a record; nil for one that has none.
func data(a dnsmessage.Resource) []byte {
	switch b := a.Body.(type) {
	case *dnsmessage.AResource:
		return b.A[:]
	case *dnsmessage.AAAAResource:
		return b.AAAA[:]
	}
	return nil
}

// wins reports whether our record comes after the one that somebody else proposes at the same time (section 8.2). An
// address of IPv6 comes after ours, whose type is smaller.
func (r record) wins(other []byte) bool {
	return len(other) == 4 && bytes.Compare(r.addr.AsSlice(), other) >= 0
}

// query asks whether somebody has the name, and proposes ours (section 8.1).
func (r record) query() ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{})
	return finish(&b,
		b.StartQuestions, func() error {
			return b.Question(dnsmessage.Question{Name: r.name, Type: dnsmessage.TypeALL, Class: dnsmessage.ClassINET | unicast})
		},
		b.StartAuthorities, func() error { return r.address(&b, dnsmessage.ClassINET, ttl) })
}

// announcement tells everybody the record; with a time of 0, that it goes (section 10.1).
func (r record) announcement(seconds uint32) ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{Response: true, Authoritative: true})
	return finish(&b, b.StartAnswers, func() error { return r.address(&b, dnsmessage.ClassINET|flush, seconds) })
}

// answer answers a question. Who asks from another port than that of mDNS gets what DNS would say (section 6.7). Who asks
// for a type that the name does not have is told so (section 6.1), by mDNS.
func (r record) answer(m message, legacy bool) ([]byte, error) {
	q := m.question
	h, class, seconds := dnsmessage.Header{Response: true, Authoritative: true}, dnsmessage.ClassINET|flush, uint32(ttl)
	if legacy {
		h.ID, class, seconds = m.id, dnsmessage.ClassINET, legacyTTL
		q.Class &^= unicast
	}
	b := dnsmessage.NewBuilder(nil, h)
	var steps []func() error
	if legacy {
		steps = append(steps, b.StartQuestions, func() error { return b.Question(q) })
	}
	steps = append(steps, b.StartAnswers)
	isA := q.Type == dnsmessage.TypeA || q.Type == dnsmessage.TypeALL
	if isA {
		steps = append(steps, func() error { return r.address(&b, class, seconds) })
	}
	if !legacy && (!isA || q.Type == dnsmessage.TypeALL) {
		steps = append(steps, func() error { return r.types(&b, class, seconds) })
	}
	return finish(&b, steps...)
}

func finish(b *dnsmessage.Builder, steps ...func() error) ([]byte, error) {
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return b.Finish()
}

func (r record) address(b *dnsmessage.Builder, class dnsmessage.Class, seconds uint32) error {
	return b.AResource(dnsmessage.ResourceHeader{Name: r.name, Class: class, TTL: seconds}, dnsmessage.AResource{A: r.addr.As4()})
}

// types says that the name has an IPv4 address and nothing else.
func (r record) types(b *dnsmessage.Builder, class dnsmessage.Class, seconds uint32) error {
	var wire []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(r.name.String(), "."), ".") {
		wire = append(append(wire, byte(len(label))), label...)
	}
	bitmap := []byte{0, 0, 1, 0x40} // the end of the name; block 0, one byte, type 1
	return b.UnknownResource(dnsmessage.ResourceHeader{Name: r.name, Class: class, TTL: seconds},
		dnsmessage.UnknownResource{Type: typeNSEC, Data: slices.Concat(wire, bitmap)})
}
