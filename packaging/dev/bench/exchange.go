package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/asterisk"
)

// added are how many extensions an operator adds at once.
var added = []struct {
	extensions int
	time       measure
}{{500, applyTime}, {5000, applyLargeTime}}

// exchange measures how long 'sae-agent apply' takes from the operator's Enter until a real Asterisk has all
// extensions. There is no peer: by hand it takes a day.
func (b *runner) exchange(ctx context.Context) error {
	i := slices.IndexFunc(b.contenders, func(c contender) bool { return c.name == ours })
	if i < 0 {
		return nil
	}
	for range b.rounds {
		for _, a := range added {
			took, err := b.applyExtensions(ctx, a.extensions)
			if err != nil {
				return err
			}
			b.add(b.contenders[i], a.time, took.Seconds())
		}
	}
	return nil
}

func (b *runner) applyExtensions(ctx context.Context, extensions int) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, contenderTimeout)
	defer cancel()
	s, err := newSite(ctx, b.self, b.build, b.dir, stormPhones)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	server, err := asterisk.Install(ctx, s.server, filepath.Join(b.build, "_asterisk"), filepath.Join(s.dir, "asterisk"))
	if err != nil {
		return 0, err
	}
	daemon, err := s.startWithExchange(ctx, server)
	if err != nil {
		return 0, err
	}
	// With our files there before it starts, it need not be restarted for its voice mail while we measure.
	written := func() bool {
		text, err := os.ReadFile(filepath.Join(server.Etc(), "extensions.conf")) // the last one
		return err == nil && strings.Contains(string(text), "sae-extensions.conf")
	}
	if err := await(ctx, written); err != nil {
		return 0, fmt.Errorf("sae-agent writes no files for Asterisk: %w: %s", err, daemon.Output())
	}
	if err := server.Start(ctx); err != nil {
		return 0, err
	}
	if err := s.operator(ctx, daemon, "pbx", "status"); err != nil {
		return 0, fmt.Errorf("the exchange is not well: %w", err)
	}
	if err := s.operator(ctx, daemon, "apply"); err != nil {
		return 0, fmt.Errorf("the exchange does not follow: %w", err)
	}
	if _, err := s.write("config.yaml", exchangeConfig(extensions)); err != nil {
		return 0, err
	}
	began := time.Now()
	if out, err := s.command(ctx, "apply").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("apply: %w: %s", err, out)
	}
	took = time.Since(began)
	out, err := server.CLI(ctx, "pjsip show endpoints")
	if n := strings.Count(out, "Endpoint:  ") - 1; err == nil && n != extensions { // the head is a line, too
		err = fmt.Errorf("there are %d extensions in the exchange, not %d", n, extensions)
	}
	return took, err
}

// startWithExchange starts sae-agent with one extension. It finds the exchange's program in its PATH.
func (s *site) startWithExchange(ctx context.Context, server *asterisk.Server) (*lab.Process, error) {
	config, err := s.write("config.yaml", exchangeConfig(1))
	if err != nil {
		return nil, err
	}
	cmd := s.command(ctx, "run", "--config", config, "--state-dir", filepath.Join(s.dir, "state"))
	cmd.Env = append(cmd.Environ(), "PATH="+filepath.Dir(server.Program())+":"+os.Getenv("PATH"))
	return s.server.StartCommand(cmd)
}

// operator runs an operator's command until it succeeds.
func (s *site) operator(ctx context.Context, daemon *lab.Process, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		out, err := s.command(ctx, args...).CombinedOutput()
		if err == nil {
			return nil
		}
		select {
		case <-daemon.Done():
			return fmt.Errorf("sae-agent ended: %s", daemon.Output())
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", err, out)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// exchangeConfig is a site with n extensions.
func exchangeConfig(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "site: {name: bench}\nwan: {interface: %s, method: none}\nlan: {interface: %s, address: %s/%d}\n", wanLink, lanLink, serverAddr, subnet.Bits())
	fmt.Fprintf(&b, "dhcp: {range: %s-%s}\npbx: {driver: asterisk}\nbackup: {window: off}\nfirewall: {enabled: false}\nextensions:\n", poolFirst, poolLast)
	for i := range n {
		fmt.Fprintf(&b, "  - {number: \"%d\", name: Phone %d}\n", 1000+i, 1000+i)
	}
	return b.String()
}

// command is an operator's command on the server's host.
func (s *site) command(ctx context.Context, args ...string) *exec.Cmd {
	return s.server.Command(ctx, filepath.Join(s.build, "sae-agent"), append([]string{"--runtime-dir", filepath.Join(s.dir, "run")}, args...)...)
}
