package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/internal/pause"
	"github.com/sae-agent/sae-agent/packaging/dev/bench/dhcpload"
	"github.com/sae-agent/sae-agent/packaging/dev/bench/tftpload"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

const (
	fewLeases  = 1000
	someLeases = 10000
	manyLeases = 50000
	newClients = 10000
	inFlight   = 256
	// largeReaders is how many phones fetch the firmware at the same time.
	largeReaders = 16

	// contenderTimeout bounds all that happens to one server in one round.
	contenderTimeout = 6 * time.Minute
)

// runner goes through all measurements.
type runner struct {
	options
	self       string
	contenders []contender
	results    results
	notes      []string
}

// all runs the rounds. Each begins with another server, so that whatever changes
// slowly on the machine hits all alike.
func (b *runner) all(ctx context.Context) error {
	for round := range b.rounds {
		for i := range b.contenders {
			c := b.contenders[(round+i)%len(b.contenders)]
			for _, part := range []func(context.Context, contender) error{b.storm, b.few, b.growth} {
				if err := part(ctx, c); ctx.Err() != nil {
					return ctx.Err()
				} else if err != nil {
					b.note("%s, round %d: %v", c.name, round+1, err)
				}
			}
		}
	}
	for _, c := range b.contenders {
		if err := b.crossCheck(ctx, c); err != nil {
			b.note("%s, perfdhcp: %v", c.name, err)
		}
	}
	if err := b.exchange(ctx); err != nil {
		b.note("%s, exchange: %v", ours, err)
	}
	return ctx.Err()
}

func (b *runner) note(format string, args ...any) {
	n := fmt.Sprintf(format, args...)
	fmt.Println("  !", n)
	b.notes = append(b.notes, n)
}

func (b *runner) add(c contender, m measure, value float64) {
	fmt.Printf("  %-22s %-44s %s\n", c.name, m.label, m.format(value))
	b.results.add(c.name, m.key, value)
}

// duration is how long one load lasts.
func (b *runner) duration() time.Duration {
	if b.short {
		return time.Second
	}
	return 5 * time.Second
}

// with starts c on a fresh site, waits until it makes offers, runs fn and takes
// everything down.
func (b *runner) with(ctx context.Context, c contender, leases int, fn func(ctx context.Context, s *site, up started) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, contenderTimeout)
	defer cancel()
	s, err := newSite(ctx, b.self, b.build, b.dir, cmp.Or(b.fleet, b.inFile, stormPhones))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.leases = leases
	commands, err := c.prepare(ctx, s)
	if err != nil {
		return err
	}
	up, err := s.launch(ctx, commands)
	if err != nil {
		return fmt.Errorf("did not start: %w\n%s", err, up.output())
	}
	return fn(ctx, s, up)
}

// launch starts copies of a server's programs while a client asks for an address, and waits until it is offered one.
func (s *site) launch(ctx context.Context, commands []*exec.Cmd) (up started, err error) {
	limited, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var asking sync.WaitGroup
	var offered time.Time
	var unanswered error
	asking.Go(func() { offered, unanswered = s.firstOffer(limited, 0) })
	begun := time.Now()
	for _, c := range commands {
		again := exec.CommandContext(ctx, c.Path)
		again.Args, again.Env, again.Err = c.Args, c.Env, c.Err
		p, err := s.server.StartCommand(again)
		if err != nil {
			cancel()
			asking.Wait()
			return up, err
		}
		up.processes = append(up.processes, p)
	}
	asking.Wait()
	up.commands, up.took = commands, offered.Sub(begun)
	return up, unanswered
}

// restart stops a server in good order and starts it again.
func (s *site) restart(ctx context.Context, up started) (started, error) {
	for _, p := range up.processes {
		_ = p.Stop() // some end by the signal, and that is no failure
	}
	return s.launch(ctx, up.commands)
}

// started is a server that makes offers.
type started struct {
	commands  []*exec.Cmd
	processes []*lab.Process // the first one serves DHCP
	took      time.Duration  // until the first offer came
}

// processorTime is what the server's programs have taken of the processors so far.
func (u started) processorTime() (sum time.Duration) {
	for _, p := range u.processes {
		sum += processorTime(p)
	}
	return sum
}

// rest waits until the server's programs have come up and do nothing any more.
func (u started) rest(ctx context.Context) {
	const (
		each = 250 * time.Millisecond
		idle = 10 * time.Millisecond
	)
	for before := u.processorTime(); pause.For(ctx, each); {
		now := u.processorTime()
		if now-before <= idle {
			return
		}
		before = now
	}
}

func (u started) output() (all string) {
	const tail = 2000
	for _, p := range u.processes {
		out := p.Output()
		all += out[max(0, len(out)-tail):]
	}
	return all
}

// storms has nothing but storms, of each server in each round.
func (b *runner) storms(ctx context.Context) error {
	for range b.rounds {
		for _, c := range b.contenders {
			err := b.with(ctx, c, 0, func(ctx context.Context, s *site, up started) error {
				up.rest(ctx)
				before := up.processorTime()
				r, err := s.phonesim(ctx)
				fmt.Printf("  %-22s processor time: %v of the server, %v of the phones\n", c.name,
					(up.processorTime() - before).Round(time.Millisecond), s.clientsTime.Round(time.Millisecond))
				fmt.Printf("  %-22s %s\n", "", r)
				return err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	return nil
}

// storm powers on all phones of the fleet at the same instant, once the server is up: a start is measured by itself.
func (b *runner) storm(ctx context.Context, c contender) error {
	return b.with(ctx, c, 0, func(ctx context.Context, s *site, up started) error {
		up.rest(ctx)
		r, err := s.phonesim(ctx)
		if err != nil {
			return err
		}
		if r.Failed < len(s.fleet) { // else there is no last one
			b.add(c, stormTime, r.Stages["total"].Max.Seconds())
		}
		b.add(c, stormRepeats, float64(r.Repeated))
		b.add(c, stormFailed, float64(r.Failed))
		return nil
	})
}

// few measures with 1,000 leases: a restart, the first newcomer, and each load. Memory is that of all its processes,
// before and after the loads.
func (b *runner) few(ctx context.Context, c contender) error {
	return b.with(ctx, c, fewLeases, func(ctx context.Context, s *site, up started) error {
		up, err := s.restart(ctx, up)
		if err != nil {
			return fmt.Errorf("did not start again: %w\n%s", err, up.output())
		}
		idle, err := s.idleStart(ctx)
		if err != nil {
			return err
		}
		b.add(c, startTime, milliseconds(up.took-idle))
		asked := time.Now()
		offered, err := s.firstOffer(ctx, manyLeases+newClients)
		if err != nil {
			return err
		}
		b.add(c, firstOffer, milliseconds(offered.Sub(asked)))
		return errors.Join(
			b.resident(c, memory, up), b.exchanges(ctx, s, c, exchangesFew),
			b.files(ctx, s, c, filesRate, 0), b.files(ctx, s, c, filesAgain, 1),
			b.firmware(ctx, s, c, firmwareOne, 1), b.firmware(ctx, s, c, firmwareMany, largeReaders),
			b.newcomers(ctx, s, c), b.resident(c, memoryLoaded, up),
		)
	})
}

// growth measures with more leases.
func (b *runner) growth(ctx context.Context, c contender) error {
	var errs []error
	for _, g := range []struct {
		leases       int
		rate, memory measure
	}{{someLeases, exchangesSome, memorySome}, {manyLeases, exchangesMany, memoryMany}} {
		errs = append(errs, b.with(ctx, c, g.leases, func(ctx context.Context, s *site, up started) error {
			return errors.Join(b.exchanges(ctx, s, c, g.rate), b.resident(c, g.memory, up))
		}))
	}
	return errors.Join(errs...)
}

// idleStart is what it takes to start any program on the server's host: not the server's own time.
func (s *site) idleStart(ctx context.Context) (time.Duration, error) {
	const times = 5
	begun := time.Now()
	for range times {
		if err := s.server.Command(ctx, "true").Run(); err != nil {
			return 0, err
		}
	}
	return time.Since(begun) / times, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (b *runner) resident(c contender, m measure, up started) error {
	kb, err := residentKB(up.processes)
	if err == nil {
		b.add(c, m, float64(kb)/1000)
	}
	return err
}

func (b *runner) exchanges(ctx context.Context, s *site, c contender, m measure) error {
	r, err := s.load(ctx, dhcpload.Config{Clients: s.leases, Duration: b.duration()})
	if err != nil {
		return err
	}
	return b.addRate(c, m, r)
}

// newcomers lets clients ask that the server has never seen, each one once.
func (b *runner) newcomers(ctx context.Context, s *site, c contender) error {
	r, err := s.load(ctx, dhcpload.Config{First: manyLeases, Clients: newClients, Count: newClients - inFlight, Duration: b.duration()})
	if err != nil {
		return err
	}
	return b.addRate(c, exchangesNew, r)
}

func (b *runner) addRate(c contender, m measure, r dhcpload.Result) error {
	if r.Duplicates > 0 {
		b.note("%s gave %d addresses to two clients", c.name, r.Duplicates)
	}
	b.add(c, m, r.Rate())
	return nil
}

// load runs the DHCP generator with what the caller left open filled in.
func (s *site) load(ctx context.Context, config dhcpload.Config) (r dhcpload.Result, err error) {
	config.Relay, config.Server = relayAddr, serverAddr
	config.InFlight, config.Patience = inFlight, time.Second
	err = s.child(ctx, "dhcp", config, &r)
	return r, err
}

// files has 64 clients fetch a small file, each from that many ports in turn; 0: from ever other ones.
func (b *runner) files(ctx context.Context, s *site, c contender, m measure, ports int) error {
	r, err := b.read(ctx, s, c, tftpload.Config{Sources: s.readers, Ports: ports, File: smallFile, Size: smallSize})
	if err == nil {
		b.add(c, m, r.Rate())
	}
	return err
}

// firmware has phones fetch the large file in blocks that fill a frame.
func (b *runner) firmware(ctx context.Context, s *site, c contender, m measure, phones int) error {
	r, err := b.read(ctx, s, c, tftpload.Config{Sources: s.readers[:phones], File: largeFile, Size: largeSize, BlockSize: largeBlock})
	if err == nil {
		b.add(c, m, float64(r.Bytes)/1e6/r.Elapsed.Seconds())
	}
	return err
}

func (b *runner) read(ctx context.Context, s *site, c contender, config tftpload.Config) (r tftpload.Result, err error) {
	config.Server, config.Duration, config.Patience = netip.AddrPortFrom(serverAddr, 69), b.duration(), time.Second
	err = s.child(ctx, "tftp", config, &r)
	if r.Failed > 0 {
		b.note("%s: %d of %d files failed: %s", c.name, r.Failed, r.Files+r.Failed, r.Why)
	}
	return r, err
}

// crossCheck looks for the highest rate at which an independent generator loses at
// most 2.5 % of the answers.
func (b *runner) crossCheck(ctx context.Context, c contender) error {
	return b.with(ctx, c, fewLeases, func(ctx context.Context, s *site, up started) error {
		rate, err := s.perfdhcp(ctx, b.results.median(c.name, exchangesFew.key), b.duration())
		if err != nil {
			return err
		}
		b.add(c, perfdhcpRate, rate)
		return nil
	})
}
