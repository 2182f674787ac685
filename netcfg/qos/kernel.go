package qos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// dumpTries is how often a list is asked for again that changed meanwhile.
const dumpTries = 5

// kernel reads and changes the queues of one network namespace.
type kernel struct{ nl *netlink.Handle }

func newKernel() (*kernel, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("qos: netlink: %w", err)
	}
	return &kernel{h}, nil
}

func (k *kernel) close() { k.nl.Close() }

// missingError says that this kernel has no queues of a kind.
type missingError struct{ kind string }

func (e *missingError) Error() string { return "this kernel has no " + e.kind }

// dump calls list again while the kernel says that it changed meanwhile.
func dump[T any](list func() (T, error)) (out T, err error) {
	for range dumpTries {
		if out, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return out, err
}

// read returns all cards and their queues.
func (k *kernel) read() (machine, error) {
	links, err := dump(k.nl.LinkList)
	if err != nil {
		return nil, fmt.Errorf("qos: list cards: %w", err)
	}
	queues, err := dump(listQueues)
	if err != nil {
		return nil, fmt.Errorf("qos: list queues: %w", err)
	}
	var out machine
	for _, l := range links {
		c := card{name: l.Attrs().Name, index: l.Attrs().Index}
		c.sort(queues[c.index])
		if c.ours() && c.Root.Kind == kindHTB {
			if err := k.readHTB(l, &c.tree); err != nil {
				return nil, fmt.Errorf("qos: %s: %w", c.name, err)
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// sort tells root and leaves of our own apart. Other queues do not matter.
func (c *card) sort(queues []queue) {
	for _, q := range queues {
		if q.Parent == netlink.HANDLE_ROOT {
			c.Root = q
		}
	}
	for _, q := range queues {
		if c.ours() && q.Parent != netlink.HANDLE_ROOT && q.Parent>>16 == c.Root.Handle>>16 {
			q.Handle = 0
			c.Leaves = append(c.Leaves, q)
		}
	}
	slices.SortFunc(c.Leaves, func(a, b queue) int { return cmp.Compare(a.Parent, b.Parent) })
}

func (k *kernel) readHTB(link netlink.Link, t *tree) error {
	classes, err := dump(func() ([]netlink.Class, error) { return k.nl.ClassList(link, netlink.HANDLE_NONE) })
	if err != nil {
		return fmt.Errorf("list classes: %w", err)
	}
	for _, c := range classes {
		if h, ok := c.(*netlink.HtbClass); ok && h.Handle>>16 == t.Root.Handle>>16 {
			t.Classes = append(t.Classes, class{
				ID: h.Handle, Parent: h.Parent, Rate: h.Rate, Ceil: h.Ceil, Buffer: h.Buffer, Cbuffer: h.Cbuffer, Prio: h.Prio, Quantum: h.Quantum,
			})
		}
	}
	slices.SortFunc(t.Classes, func(a, b class) int { return cmp.Compare(a.ID, b.ID) })
	filters, err := dump(func() ([]netlink.Filter, error) { return k.nl.FilterList(link, t.Root.Handle) })
	if err != nil {
		return fmt.Errorf("list filters: %w", err)
	}
	for _, f := range filters {
		var mine filter // of another kind: one that we do not want
		if u, ok := f.(*netlink.U32); ok && u.Sel != nil && len(u.Sel.Keys) == 1 {
			mine = filter{u.Protocol, u.Sel.Keys[0].Mask, u.Sel.Keys[0].Val, u.ClassId}
		}
		t.Filters = append(t.Filters, mine)
	}
	slices.SortFunc(t.Filters, compareFilters)
	return nil
}

// do makes one change.
func (k *kernel) do(c Change) error {
	switch c.Kind {
	case SetQueue:
		return setQueue(c.index, c.queue)
	case SetClass:
		return k.nl.ClassReplace(&netlink.HtbClass{
			ClassAttrs: netlink.ClassAttrs{LinkIndex: c.index, Handle: c.class.ID, Parent: c.class.Parent},
			Rate:       c.class.Rate, Ceil: c.class.Ceil, Buffer: c.class.Buffer, Cbuffer: c.class.Cbuffer, Prio: c.class.Prio, Quantum: c.class.Quantum,
		})
	case AddFilter:
		return k.nl.FilterAdd(&netlink.U32{
			FilterAttrs: filterAttrs(c), ClassId: c.filter.Class,
			Sel: &netlink.TcU32Sel{
				Flags: netlink.TC_U32_TERMINAL, Nkeys: 1, Keys: []netlink.TcU32Key{{Mask: c.filter.Mask, Val: c.filter.Val}},
			},
		})
	case ClearFilters:
		return k.nl.FilterDel(&netlink.U32{FilterAttrs: filterAttrs(c)})
	case RemoveRoot:
		return k.nl.QdiscDel(&netlink.GenericQdisc{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: c.index, Handle: c.root, Parent: netlink.HANDLE_ROOT,
		}})
	}
	return fmt.Errorf("qos: no such change: %q", c.Kind)
}

// filterAttrs gives each protocol a priority of its own, as the kernel demands.
func filterAttrs(c Change) netlink.FilterAttrs {
	prio := uint16(1)
	if c.filter.Protocol == unix.ETH_P_IPV6 {
		prio = 2
	}
	return netlink.FilterAttrs{LinkIndex: c.index, Parent: c.root, Priority: prio, Protocol: c.filter.Protocol}
}

// watch calls changed after every change of queues and cards. It returns when ctx
// ends, or the kernel ends the subscription (ENOBUFS, mostly: events were lost).
func watch(ctx context.Context, changed func()) error {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_TC, unix.RTNLGRP_LINK)
	if err != nil {
		return fmt.Errorf("qos: subscribe: %w", err)
	}
	stop := context.AfterFunc(ctx, s.Close)
	defer func() {
		if stop() {
			s.Close()
		}
	}()
	changed() // what happened before the subscription
	for {
		if _, _, err := s.Receive(); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		changed()
	}
}
