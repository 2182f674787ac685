package firewall

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// nftablesGroup is the multicast group of changes of rules: NFNLGRP_NFTABLES in
// linux/netfilter/nfnetlink.h.
const nftablesGroup = 7

// pause keeps a socket that fails from taking the whole machine.
const pause = 10 * time.Millisecond

// monitor hears changes of nftables in the network namespace that it was opened in.
type monitor struct{ socket *nl.NetlinkSocket }

func newMonitor() (*monitor, error) {
	s, err := nl.Subscribe(unix.NETLINK_NETFILTER, nftablesGroup)
	if err != nil {
		return nil, fmt.Errorf("firewall: listen to changes of nftables: %w", err)
	}
	// A burst that does not fit is no loss: it makes us look as well.
	_ = s.SetReceiveBufferSize(1<<20, false)
	return &monitor{s}, nil
}

// run calls ours after each change of our table, and others after tables or chains
// of others have come or gone, until ctx ends.
func (m *monitor) run(ctx context.Context, ours, others func()) {
	stop := context.AfterFunc(ctx, m.socket.Close)
	defer stop()
	for {
		messages, _, err := m.socket.Receive()
		if ctx.Err() != nil {
			return
		}
		if err != nil { // events were lost (ENOBUFS)
			ours()
			others()
			time.Sleep(pause)
			continue
		}
		for _, msg := range messages {
			switch about(msg) {
			case ourTable:
				ours()
			case otherChains:
				others()
			}
		}
	}
}

// subject is what a message is about, as far as we care.
type subject int

const (
	nothing     subject = iota
	ourTable            // other than that a member came
	otherChains         // or the whole table
)

// Kinds of messages, nf_tables_msg_types in linux/netfilter/nf_tables.h.
const (
	deleteChain = 5 // those before it are about tables and chains
	newElement  = 12
)

func about(msg syscall.NetlinkMessage) subject {
	subsystem, kind := msg.Header.Type>>8, msg.Header.Type&0xff
	switch {
	case subsystem != unix.NFNL_SUBSYS_NFTABLES:
		return nothing
	case tableOf(msg.Data) == TableName:
		if kind == newElement {
			return nothing
		}
		return ourTable
	case kind <= deleteChain:
		return otherChains
	}
	return nothing
}

// tableOf reads the table's name, which is attribute 1 of messages about tables,
// chains, rules, sets, their elements, and objects alike.
func tableOf(data []byte) string {
	const header, attrHeader, nameAttr = 4, 4, 1 // struct nfgenmsg, struct nlattr
	const typeMask = 0x3fff                      // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
	if len(data) < header {
		return ""
	}
	data = data[header:]
	for len(data) >= attrHeader {
		size := int(binary.NativeEndian.Uint16(data))
		kind := binary.NativeEndian.Uint16(data[2:]) & typeMask
		if size < attrHeader || size > len(data) {
			return ""
		}
		if kind == nameAttr {
			return string(bytes.TrimRight(data[attrHeader:size], "\x00"))
		}
		data = data[min(len(data), (size+3)&^3):]
	}
	return ""
}
