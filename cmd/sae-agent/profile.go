//go:build profile

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"syscall"
)

// profile writes what the daemon does between SIGUSR1 and SIGUSR2 into its runtime folder: cpu.pprof, and the
// allocations before and after, whose difference they are. Only programs that 'make profile' builds have it.
func profile(ctx context.Context, dir string, log *slog.Logger) {
	begin, end := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(begin, syscall.SIGUSR1)
	signal.Notify(end, syscall.SIGUSR2)
	for {
		select {
		case <-ctx.Done():
			return
		case <-begin:
		}
		if err := profileUntil(end, dir); err != nil {
			log.Error("cannot write profiles", "err", err)
		}
	}
}

// profileUntil writes the profiles. That of the CPU comes last, and whole: who waits for it finds the others.
func profileUntil(end <-chan os.Signal, dir string) error {
	if err := writeAllocations(filepath.Join(dir, "before.pprof")); err != nil {
		return err
	}
	part := filepath.Join(dir, "cpu.part")
	f, err := os.Create(part)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	<-end
	pprof.StopCPUProfile()
	return errors.Join(writeAllocations(filepath.Join(dir, "allocs.pprof")), os.Rename(part, filepath.Join(dir, "cpu.pprof")))
}

func writeAllocations(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}
