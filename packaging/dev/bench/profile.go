package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sae-agent/sae-agent/internal/pause"
	"github.com/sae-agent/sae-agent/packaging/dev/bench/dhcpload"
	"github.com/sae-agent/sae-agent/packaging/dev/bench/tftpload"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

// profiledLoad is a load under which the whole daemon is profiled.
type profiledLoad struct {
	name   string
	leases int
	run    func(ctx context.Context, b *runner, s *site, c contender) error
}

var profiledLoads = []profiledLoad{
	{"storm", 0, func(ctx context.Context, _ *runner, s *site, _ contender) error {
		_, err := s.phonesim(ctx)
		return err
	}},
	{"known", fewLeases, exchangesOf(dhcpload.Config{Clients: fewLeases})},
	{"renew", fewLeases, exchangesOf(dhcpload.Config{Kind: dhcpload.Renew, Clients: fewLeases, Held: poolFirst})},
	{"inform", fewLeases, exchangesOf(dhcpload.Config{Kind: dhcpload.Inform, Clients: fewLeases})},
	{"unseen", fewLeases, exchangesOf(dhcpload.Config{First: manyLeases, Clients: newClients, Count: newClients - inFlight})},
	{"tftp", fewLeases, filesOf(tftpload.Config{File: smallFile, Size: smallSize}, readerCount)},
	{"firmware-one", fewLeases, filesOf(tftpload.Config{File: largeFile, Size: largeSize, BlockSize: largeBlock}, 1)},
	{"firmware", fewLeases, filesOf(tftpload.Config{File: largeFile, Size: largeSize, BlockSize: largeBlock}, readerCount)},
}

func exchangesOf(config dhcpload.Config) func(context.Context, *runner, *site, contender) error {
	return func(ctx context.Context, b *runner, s *site, _ contender) error {
		config.Duration = b.duration()
		r, err := s.load(ctx, config)
		if err == nil {
			fmt.Printf("  %d exchanges, %.0f per second, %d repeats\n", r.Done, r.Rate(), r.Repeats)
		}
		return err
	}
}

func filesOf(config tftpload.Config, phones int) func(context.Context, *runner, *site, contender) error {
	return func(ctx context.Context, b *runner, s *site, c contender) error {
		config.Sources = s.readers[:phones]
		r, err := b.read(ctx, s, c, config)
		if err == nil {
			fmt.Printf("  %d files, %.0f per second, %d MB, %d repeats\n", r.Files, r.Rate(), r.Bytes/1e6, r.Repeats)
		}
		return err
	}
}

// profiles writes LOAD.cpu.pprof, LOAD.allocs.pprof and LOAD.txt, the heads of both, into the folder of profiles. It
// needs a sae-agent that was built with the tag profile.
func (b *runner) profiles(ctx context.Context) error {
	if err := os.MkdirAll(b.profile, 0o755); err != nil {
		return err
	}
	for _, load := range profiledLoads {
		if !matches(load.name, b.loads) {
			continue
		}
		fmt.Println(load.name)
		c := chosen(ours)[0]
		err := b.with(ctx, c, load.leases, func(ctx context.Context, s *site, up started) error {
			return b.profileOf(ctx, s, up.processes[0], load.name, func() error { return load.run(ctx, b, s, c) })
		})
		if err != nil {
			return fmt.Errorf("%s: %w", load.name, err)
		}
	}
	return nil
}

// profileOf profiles the daemon while run runs.
func (b *runner) profileOf(ctx context.Context, s *site, daemon *lab.Process, name string, run func() error) error {
	if err := syscall.Kill(daemon.Pid(), syscall.SIGUSR1); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	if err := awaitFile(ctx, filepath.Join(s.dir, "run", "cpu.part")); err != nil {
		return err
	}
	before := processorTime(daemon)
	err := run()
	fmt.Printf("  processor time: %v of the daemon, %v of its clients\n", (processorTime(daemon) - before).Round(time.Millisecond), s.clientsTime.Round(time.Millisecond))
	if err := syscall.Kill(daemon.Pid(), syscall.SIGUSR2); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	if err := awaitFile(ctx, filepath.Join(s.dir, "run", "cpu.pprof")); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	text, err := os.Create(filepath.Join(b.profile, name+".txt"))
	if err != nil {
		return err
	}
	defer text.Close()
	for _, kind := range []string{"cpu", "before", "allocs"} {
		if err := copyFile(filepath.Join(b.profile, name+"."+kind+".pprof"), filepath.Join(s.dir, "run", kind+".pprof")); err != nil {
			return err
		}
	}
	return errors.Join(
		b.top(ctx, text, name+".cpu.pprof"),
		b.top(ctx, text, "-sample_index=alloc_objects", "-base="+filepath.Join(b.profile, name+".before.pprof"), name+".allocs.pprof"),
	)
}

// top writes the head of a profile.
func (b *runner) top(ctx context.Context, to *os.File, args ...string) error {
	last := len(args) - 1
	args[last] = filepath.Join(b.profile, args[last])
	cmd := exec.CommandContext(ctx, "go", append([]string{"tool", "pprof", "-top", "-nodecount=40"}, args...)...)
	cmd.Stdout, cmd.Stderr = to, to
	return cmd.Run()
}

func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// awaitFile waits until the daemon has written a file.
func awaitFile(ctx context.Context, path string) error {
	exists := func() bool {
		_, err := os.Stat(path)
		return err == nil
	}
	if err := await(ctx, exists); err != nil {
		return fmt.Errorf("%s did not come; was sae-agent built with the tag profile (make profile)?", path)
	}
	return nil
}

// await waits until something is so.
func await(ctx context.Context, isSo func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for !isSo() {
		if !pause.For(ctx, 5*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}
