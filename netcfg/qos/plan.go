package qos

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Kind is what a change does.
type Kind string

// Kinds of changes.
const (
	SetQueue     Kind = "set_queue" // adds it, changes it, or puts it in another's place
	SetClass     Kind = "set_class"
	AddFilter    Kind = "add_filter"
	ClearFilters Kind = "clear_filters"
	RemoveRoot   Kind = "remove_root" // back to the kernel's own queue
)

// Change is one thing to do.
type Change struct {
	Kind Kind
	Link string

	queue  queue  // SetQueue
	class  class  // SetClass
	filter filter // AddFilter; ClearFilters: its protocol
	root   uint32 // AddFilter, ClearFilters, RemoveRoot: handle of the root queue
	index  int
}

// String says it in the words of tc(8).
func (c Change) String() string {
	switch c.Kind {
	case SetQueue:
		return fmt.Sprintf("tc qdisc replace dev %s %s", c.Link, c.queue)
	case SetClass:
		return fmt.Sprintf("tc class replace dev %s %s", c.Link, c.class)
	case AddFilter:
		return fmt.Sprintf("tc filter add dev %s parent %s %s", c.Link, handle(c.root), c.filter)
	case ClearFilters:
		return fmt.Sprintf("tc filter del dev %s parent %s protocol %s", c.Link, handle(c.root), protocols[c.filter.Protocol])
	case RemoveRoot:
		return fmt.Sprintf("tc qdisc del dev %s root", c.Link)
	}
	return string(c.Kind)
}

func (q queue) String() string {
	var b strings.Builder
	if q.Handle != 0 {
		fmt.Fprintf(&b, "root handle %s %s", handle(q.Handle), q.Kind)
	} else {
		fmt.Fprintf(&b, "parent %s %s", handle(q.Parent), q.Kind)
	}
	switch q.Kind {
	case kindCake:
		fmt.Fprintf(&b, " bandwidth %dbit diffserv4 nat", 8*q.Rate)
	case kindHTB:
		fmt.Fprintf(&b, " default %x", q.Default)
	case kindFIFO:
		fmt.Fprintf(&b, " limit %d", q.Limit)
	}
	return b.String()
}

func (c class) String() string {
	return fmt.Sprintf("classid %s htb rate %dbit ceil %dbit prio %d", handle(c.ID), 8*c.Rate, 8*c.Ceil, c.Prio)
}

// protocols are the words for them in tc(8).
var protocols = map[uint16]string{unix.ETH_P_IP: "ip", unix.ETH_P_IPV6: "ipv6"}

func (f filter) String() string {
	return fmt.Sprintf("protocol %s u32 match u32 %#08x %#08x at 0 classid %s", protocols[f.Protocol], f.Val, f.Mask, handle(f.Class))
}

func handle(h uint32) string {
	if h&0xffff == 0 {
		return fmt.Sprintf("%x:", h>>16)
	}
	return fmt.Sprintf("%x:%x", h>>16, h&0xffff)
}

// card is one card and its queues.
type card struct {
	name  string
	index int
	tree
}

func (c card) discipline() Discipline {
	switch {
	case !c.ours():
		return DisciplineNone
	case c.Root.Kind == kindCake:
		return DisciplineCake
	}
	return DisciplineHTB
}

// machine is all cards.
type machine []card

func (m machine) card(name string) card {
	if i := slices.IndexFunc(m, func(c card) bool { return c.name == name }); i >= 0 {
		return m[i]
	}
	return card{}
}

// makePlan lists what to change so that the cards are as they should be, and says
// what is wrong that we do not change.
func makePlan(want Config, is machine, missing []string) (plan []Change, problem string) {
	for _, c := range is {
		if c.ours() && (c.name != want.Link || want.Rate == 0) {
			plan = append(plan, c.remove())
		}
	}
	if want.Rate == 0 {
		return plan, ""
	}
	c := is.card(want.Link)
	switch {
	case c.name == "":
		return plan, fmt.Sprintf("there is no card %s: 'ip link' shows what they are called", want.Link)
	case !c.ours() && !c.kernels():
		return plan, fmt.Sprintf("%s has a root queue that is not ours (%s %s), so nothing is shaped: 'tc qdisc del dev %s root' lets us",
			want.Link, c.Root.Kind, handle(c.Root.Handle), want.Link)
	}
	t, ok := wantedTree(want.Rate, missing)
	if !ok {
		return plan, ""
	}
	return append(plan, c.become(t)...), ""
}

// become lists how to make a card's queues those of t, which is what is there
// already where only rates differ.
func (c card) become(t tree) (plan []Change) {
	if c.Root.Handle == t.Root.Handle && !c.changeable(t) {
		plan = append(plan, c.remove())
		c.tree = tree{}
	}
	if c.Root != t.Root {
		plan = append(plan, Change{Kind: SetQueue, Link: c.name, index: c.index, queue: t.Root})
		if c.Root.Handle != t.Root.Handle {
			c.tree = tree{}
		}
	}
	for _, cl := range t.Classes {
		if !slices.Contains(c.Classes, cl) {
			plan = append(plan, Change{Kind: SetClass, Link: c.name, index: c.index, class: cl})
		}
	}
	for _, q := range t.Leaves {
		if !slices.Contains(c.Leaves, q) {
			plan = append(plan, Change{Kind: SetQueue, Link: c.name, index: c.index, queue: q})
		}
	}
	if slices.Equal(c.Filters, t.Filters) {
		return plan
	}
	return append(plan, c.refilter(t)...)
}

// changeable reports whether queues of ours can become those of t without being
// recreated: htb's default class cannot be changed, and strange classes are not
// worth the trouble.
func (c card) changeable(t tree) bool {
	known := func(cl class) bool {
		return slices.ContainsFunc(t.Classes, func(w class) bool { return w.ID == cl.ID && w.Parent == cl.Parent })
	}
	return c.Root.Kind == t.Root.Kind && c.Root.Default == t.Root.Default &&
		!slices.ContainsFunc(c.Classes, func(cl class) bool { return !known(cl) })
}

// refilter recreates all filters.
func (c card) refilter(t tree) (plan []Change) {
	for _, p := range []uint16{unix.ETH_P_IP, unix.ETH_P_IPV6} {
		if slices.ContainsFunc(c.Filters, func(f filter) bool { return f.Protocol == p }) {
			plan = append(plan, Change{Kind: ClearFilters, Link: c.name, index: c.index, root: t.Root.Handle, filter: filter{Protocol: p}})
		}
	}
	for _, f := range t.Filters {
		plan = append(plan, Change{Kind: AddFilter, Link: c.name, index: c.index, root: t.Root.Handle, filter: f})
	}
	return plan
}

func (c card) remove() Change {
	return Change{Kind: RemoveRoot, Link: c.name, index: c.index, root: c.Root.Handle}
}
