package qos

import (
	"math"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The numbers before the colon in `tc qdisc`, by which we know our own queues; a
// kind each, so that one can take the place of the other in one step.
const (
	cakeMajor = 0x5ae
	htbMajor  = 0x5af
)

// Kinds of queues (tc-cake(8), tc-htb(8), tc-fq_codel(8), tc-pfifo(8)).
const (
	kindCake    = "cake"
	kindHTB     = "htb"
	kindFqCodel = "fq_codel"
	kindFIFO    = "pfifo"
)

// queue is a qdisc. Fields that its kind has not are zero.
type queue struct {
	Kind   string
	Handle uint32 // of a root; leaves have what the kernel gives them, and 0 here
	Parent uint32

	Rate      uint64 // cake: bytes per second
	DiffServ4 bool   // cake: four tins, bulk, best effort, video and voice
	NAT       bool   // cake: fair between machines behind us too
	Default   uint32 // htb: the class of what no filter matches
	Limit     uint32 // pfifo: packets
}

// class is a class of htb.
type class struct {
	ID, Parent      uint32
	Rate, Ceil      uint64 // bytes per second, assured and at most
	Buffer, Cbuffer uint32 // bursts at these rates, in ticks of the scheduler
	Prio            uint32 // who borrows first, 0 before 1
	Quantum         uint32 // bytes
}

// filter puts packets with one DSCP into a class.
type filter struct {
	Protocol  uint16 // ETH_P_IP or ETH_P_IPV6
	Mask, Val uint32 // of the first four bytes of the packet
	Class     uint32
}

// tree is all queues of a card.
type tree struct {
	Root    queue
	Classes []class // by ID
	Leaves  []queue // by parent
	Filters []filter
}

// ours reports whether we made it.
func (t tree) ours() bool {
	return t.Root.Handle == cakeMajor<<16 || t.Root.Handle == htbMajor<<16
}

// kernels reports whether the root is the one that the kernel puts there itself.
func (t tree) kernels() bool { return t.Root.Handle == 0 }

// Classes of htb, the numbers after the colon.
const (
	minorRoot  = 1
	minorVoice = 0x10
	minorVideo = 0x20
	minorRest  = 0x30
)

// shares are what each class is assured of, in parts of a hundred. All may use
// what the others leave, in this order.
var shares = []struct {
	minor uint32
	share uint64
	dscp  []uint32 // RFC 4594 section 2.3
}{
	{minorVoice, 50, []uint32{46, 44, 40, 24, 48, 56}}, // EF, VOICE-ADMIT, CS5, CS3, CS6, CS7
	{minorVideo, 30, []uint32{34, 36, 38, 32}},         // AF41, AF42, AF43, CS4
	{minorRest, 20, nil},
}

// wantedTree returns how a card's queues should be. ok is false when the kernel
// has no kind of queue that can shape.
func wantedTree(bitsPerSecond uint64, missing []string) (t tree, ok bool) {
	rate := bitsPerSecond / 8
	switch {
	case !slices.Contains(missing, kindCake):
		t.Root = queue{Kind: kindCake, Handle: cakeMajor << 16, Parent: netlink.HANDLE_ROOT, Rate: rate, DiffServ4: true, NAT: true}
		return t, true
	case slices.Contains(missing, kindHTB):
		return tree{}, false
	}
	const root = htbMajor << 16
	t.Root = queue{Kind: kindHTB, Handle: root, Parent: netlink.HANDLE_ROOT, Default: minorRest}
	t.Classes = []class{newClass(root|minorRoot, netlink.HANDLE_ROOT, rate, rate, 0)}
	for i, s := range shares {
		t.Classes = append(t.Classes, newClass(root|s.minor, root|minorRoot, rate*s.share/100, rate, uint32(i)))
		t.Leaves = append(t.Leaves, leaf(root|s.minor, rate, missing))
		for _, d := range s.dscp {
			t.Filters = append(t.Filters,
				filter{unix.ETH_P_IP, 0xfc << 16, d << 18, root | s.minor},   // RFC 791 section 3.1, RFC 2474 section 3
				filter{unix.ETH_P_IPV6, 0xfc << 20, d << 22, root | s.minor}) // RFC 8200 section 3
		}
	}
	slices.SortFunc(t.Filters, compareFilters)
	return t, true
}

func compareFilters(a, b filter) int {
	if a.Protocol != b.Protocol {
		return int(a.Protocol) - int(b.Protocol)
	}
	return int(int64(a.Val) - int64(b.Val))
}

const frame = 1514 // bytes of the longest packet on Ethernet

// newClass allows bursts of one frame and what the rate gives in a millisecond:
// more would wait in the queues behind us.
func newClass(id, parent uint32, rate, ceil uint64, prio uint32) class {
	burst := func(rate uint64) uint32 {
		return netlink.Xmittime(rate, uint32(min(rate/1000+frame, math.MaxUint32)))
	}
	return class{
		ID: id, Parent: parent, Rate: rate, Ceil: ceil, Buffer: burst(rate), Cbuffer: burst(ceil), Prio: prio, Quantum: frame,
	}
}

// leaf is the queue of a class. One that does not drop by itself holds a tenth of
// a second at the full rate.
func leaf(parent uint32, rate uint64, missing []string) queue {
	if !slices.Contains(missing, kindFqCodel) {
		return queue{Kind: kindFqCodel, Parent: parent}
	}
	return queue{Kind: kindFIFO, Parent: parent, Limit: uint32(min(max(rate/10/frame, 16), 1000))}
}
