package stacks

import (
	"context"

	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/internal/disk"
)

const (
	mib = 1 << 20
	// exchangeMemory is what the exchange, its database and the system need.
	exchangeMemory = 1024 * mib
	// keepFree is room that containers need for their logs and data.
	keepFree = 512 * mib
)

// room reports what is short before anything is begun: a stack that starves the
// exchange or fills the disk is worse than none.
func (s *stack) room(ctx context.Context, p *kind.Project, missing []kind.Image) error {
	info, err := s.docker.Info(ctx)
	if err != nil {
		return err
	}
	need := int64(0)
	for _, name := range s.opts.Names {
		if name == s.name {
			break
		}
		need += s.stacks[name].memory()
	}
	if p := memoryProblem(info.MemTotal, need, p.Memory()); p != nil {
		return p
	}
	images := int64(0)
	for _, i := range missing {
		images += i.SizeMB * 1_000_000
	}
	for path, need := range map[string]int64{info.Root: images + keepFree, s.opts.Dir: keepFree} {
		free, err := disk.Free(path)
		if err != nil {
			return err
		}
		if free < need {
			return problem(DiskFull, "make room, 'docker image prune -a' removes images that nothing uses",
				"%s has %d MB free, and %d MB are needed", path, free/1_000_000, need/1_000_000)
		}
	}
	return nil
}

// memory is what the stack needs if it is on, in bytes.
func (s *stack) memory() int64 {
	if !s.enabled() {
		return 0
	}
	p, err := s.render(s.images())
	if err != nil {
		return 0
	}
	return p.Memory()
}

// memoryProblem compares what a machine has with what is needed, in bytes.
func memoryProblem(total, before, needed int64) *Problem {
	if total >= exchangeMemory+before+needed {
		return nil
	}
	return problem(MemoryShort, "give the machine more memory, or turn a stack off",
		"the machine has %d MB of memory; %d MB are kept for the exchange and the system, %d MB for the stacks before this one, which needs %d MB",
		total/mib, int64(exchangeMemory/mib), before/mib, needed/mib)
}
