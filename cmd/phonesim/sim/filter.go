package sim

import (
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// maxPrefixes bounds the filter; a fleet with more MAC prefixes takes every frame.
const maxPrefixes = 32

// filter lets the kernel keep what no phone wants: it passes ARP, and IPv4 to one of
// the MAC prefixes (first three bytes) or to everybody. A busy LAN costs little then.
func filter(phones map[mac]*host) []bpf.Instruction {
	prefixes := make(map[uint32]bool)
	for m := range phones {
		prefixes[uint32(m[0])<<16|uint32(m[1])<<8|uint32(m[2])] = true
	}
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipFalse: 1},
		bpf.RetConstant{Val: maxFrame},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 1, SkipFalse: 1}, // group bit: broadcast
		bpf.RetConstant{Val: maxFrame},
		bpf.LoadAbsolute{Off: 0, Size: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 8},
	}
	if len(prefixes) > maxPrefixes {
		return append(program, bpf.RetConstant{Val: maxFrame})
	}
	for p := range prefixes {
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: p, SkipFalse: 1}, bpf.RetConstant{Val: maxFrame})
	}
	return append(program, bpf.RetConstant{Val: 0})
}
