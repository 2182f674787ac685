package qos

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Options of cake, linux/pkt_sched.h.
const (
	cakeBaseRate64 = 2
	cakeDiffServ   = 3
	cakeNAT        = 11

	cakeDiffServ4 = 1
)

// setQueue adds a queue, changes it, or puts it in another's place: the netlink
// library knows neither cake nor pfifo.
func setQueue(index int, q queue) error {
	req := nl.NewNetlinkRequest(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index), Handle: q.Handle, Parent: q.Parent})
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(q.Kind)))
	if o := q.options(); o != nil {
		req.AddData(o)
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	// EOPNOTSUPP: cake without connection tracking.
	if q.Kind != kindFIFO && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP)) {
		return &missingError{q.Kind}
	}
	return err
}

// options are what the kernel is told of a queue; nil for its defaults.
func (q queue) options() *nl.RtAttr {
	switch q.Kind {
	case kindCake:
		o := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
		o.AddRtAttr(cakeBaseRate64, nl.Uint64Attr(q.Rate))
		o.AddRtAttr(cakeDiffServ, nl.Uint32Attr(valueIf(q.DiffServ4, cakeDiffServ4)))
		o.AddRtAttr(cakeNAT, nl.Uint32Attr(valueIf(q.NAT, 1)))
		return o
	case kindHTB:
		o := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
		glob := nl.TcHtbGlob{Version: 3, Rate2Quantum: 10, Defcls: q.Default}
		o.AddRtAttr(nl.TCA_HTB_INIT, glob.Serialize())
		return o
	case kindFIFO:
		return nl.NewRtAttr(nl.TCA_OPTIONS, nl.Uint32Attr(q.Limit))
	}
	return nil
}

func valueIf(on bool, value uint32) uint32 {
	if on {
		return value
	}
	return 0
}

// listQueues returns all queues by the number of their card.
func listQueues() (map[int][]queue, error) {
	out := make(map[int][]queue)
	return out, eachQueue(func(index int, q queue, _ []attribute) { out[index] = append(out[index], q) })
}

type attribute struct {
	kind  uint16
	value []byte
}

// eachQueue calls fn for every queue, with the attributes that it came with.
func eachQueue(fn func(index int, q queue, attrs []attribute)) error {
	req := nl.NewNetlinkRequest(unix.RTM_GETQDISC, unix.NLM_F_DUMP)
	req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL})
	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWQDISC)
	if err != nil {
		return err
	}
	for _, m := range messages {
		if len(m) < nl.SizeofTcMsg {
			return errors.New("short message")
		}
		head := nl.DeserializeTcMsg(m)
		attrs, err := attributes(m[nl.SizeofTcMsg:])
		if err != nil {
			return err
		}
		fn(int(head.Ifindex), parseQueue(head.Handle, head.Parent, attrs), attrs)
	}
	return nil
}

// parseQueue reads what we compare of a queue, from a list or an event.
func parseQueue(handle, parent uint32, attrs []attribute) queue {
	q := queue{Handle: handle, Parent: parent}
	for _, a := range attrs {
		switch {
		case a.kind == nl.TCA_KIND:
			q.Kind = string(a.value[:max(0, len(a.value)-1)])
		case a.kind == nl.TCA_OPTIONS && q.Kind == kindFIFO && len(a.value) >= 4:
			q.Limit = binary.NativeEndian.Uint32(a.value)
		case a.kind == nl.TCA_OPTIONS && (q.Kind == kindCake || q.Kind == kindHTB):
			nested, err := attributes(a.value)
			if err != nil {
				continue // then it differs from what it should be
			}
			for _, n := range nested {
				q.take(n)
			}
		}
	}
	return q
}

// take reads one option of cake or htb.
func (q *queue) take(a attribute) {
	switch {
	case q.Kind == kindHTB && a.kind == nl.TCA_HTB_INIT && len(a.value) >= nl.SizeofTcHtbGlob:
		q.Default = nl.DeserializeTcHtbGlob(a.value).Defcls
	case q.Kind == kindCake && a.kind == cakeBaseRate64 && len(a.value) >= 8:
		q.Rate = binary.NativeEndian.Uint64(a.value)
	case q.Kind == kindCake && a.kind == cakeDiffServ && len(a.value) >= 4:
		q.DiffServ4 = binary.NativeEndian.Uint32(a.value) == cakeDiffServ4
	case q.Kind == kindCake && a.kind == cakeNAT && len(a.value) >= 4:
		q.NAT = binary.NativeEndian.Uint32(a.value) != 0
	}
}

// attributes splits a message of rtnetlink(7).
func attributes(b []byte) (out []attribute, err error) {
	for len(b) >= unix.SizeofRtAttr {
		length, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if length < unix.SizeofRtAttr || length > len(b) {
			return nil, fmt.Errorf("attribute %d of %d bytes", kind, length)
		}
		out = append(out, attribute{kind &^ unix.NLA_F_NESTED, b[unix.SizeofRtAttr:length]})
		b = b[min(len(b), (length+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
	}
	return out, nil
}
