// Package sipwatch sees which phones have registered, by reading the exchange's
// answers to REGISTER as they pass through the LAN card. It works with any
// exchange on this machine that speaks SIP over UDP, and needs nothing of it.
//
// It hears and never speaks, and believes only what this machine sends. It knows
// nothing of who a phone is.
package sipwatch

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/emiago/sipgo/sip"
	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Config says where to look.
type Config struct {
	Interface string         // the LAN card
	Server    netip.AddrPort // the exchange, on this machine
}

// Registration is a phone that the exchange has just accepted.
type Registration struct {
	Client netip.Addr // where the answer goes
	Number string     // that was registered
}

// Watcher watches for registrations.
type Watcher struct {
	cfg Config
	on  func(Registration)
}

// New returns a watcher that tells on of every registration; on may block.
func New(cfg Config, on func(Registration)) *Watcher { return &Watcher{cfg: cfg, on: on} }

const (
	ethLen  = 14
	udpLen  = 8
	snapLen = 4096
)

// Run watches until ctx ends or the card is gone.
func (w *Watcher) Run(ctx context.Context) error {
	ifi, err := net.InterfaceByName(w.cfg.Interface)
	if err != nil {
		return fmt.Errorf("sipwatch: %s: %w", w.cfg.Interface, err)
	}
	filter, err := bpf.Assemble(answers(w.cfg.Server))
	if err != nil {
		return fmt.Errorf("sipwatch: %w", err)
	}
	// Only a socket for all protocols sees what leaves this machine.
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, &packet.Config{Filter: filter})
	if err != nil {
		return fmt.Errorf("sipwatch: packet socket on %s: %w", w.cfg.Interface, err)
	}
	stopped := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stopped()
	buf := make([]byte, snapLen)
	for {
		n, _, err := conn.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("sipwatch: %w", err)
		}
		if r, ok := parse(buf[:n]); ok {
			w.on(r)
		}
	}
}

// answers lets unfragmented UDP from the exchange through that begins as a SIP
// response does, and that this machine sends itself: what comes in with the
// exchange's address as its sender is somebody's forgery. The kernel, not the
// frame, says which way it goes.
func answers(server netip.AddrPort) []bpf.Instruction {
	addr := server.Addr().As4()
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 14},
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IP, SkipTrue: 12},
		bpf.LoadAbsolute{Off: 23, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 10},
		bpf.LoadAbsolute{Off: 26, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(addr[:]), SkipTrue: 8},
		bpf.LoadAbsolute{Off: 20, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 6},
		bpf.LoadMemShift{Off: ethLen},
		bpf.LoadIndirect{Off: ethLen, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(server.Port()), SkipTrue: 3},
		bpf.LoadIndirect{Off: ethLen + udpLen, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x5349502f, SkipTrue: 1}, // "SIP/"
		bpf.RetConstant{Val: snapLen},
		bpf.RetConstant{Val: 0},
	}
}

// parse reads a registration out of an Ethernet frame: a 200 to a REGISTER that
// leaves a contact (RFC 3261 section 10.3).
func parse(f []byte) (Registration, bool) {
	if len(f) < ethLen+20 {
		return Registration{}, false
	}
	head := int(f[ethLen]&15) * 4
	if head < 20 || len(f) < ethLen+head+udpLen {
		return Registration{}, false
	}
	m, err := sip.ParseMessage(f[ethLen+head+udpLen:])
	if err != nil {
		return Registration{}, false
	}
	res, ok := m.(*sip.Response)
	if !ok || res.StatusCode != 200 || res.CSeq() == nil || res.CSeq().MethodName != sip.REGISTER || res.To() == nil || res.Contact() == nil {
		return Registration{}, false
	}
	if v, _ := res.Contact().Params.Get("expires"); v == "0" {
		return Registration{}, false
	}
	return Registration{Client: netip.AddrFrom4([4]byte(f[ethLen+16 : ethLen+20])), Number: res.To().Address.User}, true
}
