package fail2ban

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// RunFunc runs a program to its end and returns what it wrote to its standard
// output, and an error with the rest if it failed. It is never called concurrently.
type RunFunc func(ctx context.Context, argv ...string) (string, error)

// client asks the server by fail2ban-client(1).
type client struct {
	run    RunFunc
	config string // folder of its configuration
	socket string // empty: where the configuration says

	asking sync.Mutex // held while a program runs: one at a time, see RunFunc
}

func (c *client) ask(ctx context.Context, words ...string) (string, error) {
	c.asking.Lock()
	defer c.asking.Unlock()
	argv := []string{"fail2ban-client", "-c", c.config}
	if c.socket != "" {
		argv = append(argv, "-s", c.socket)
	}
	return c.run(ctx, append(argv, words...)...)
}

// up reports whether the server answers.
func (c *client) up(ctx context.Context) bool {
	_, err := c.ask(ctx, "ping")
	return err == nil
}

// jails lists what runs.
func (c *client) jails(ctx context.Context) ([]string, error) {
	out, err := c.ask(ctx, "status")
	if err != nil {
		return nil, fmt.Errorf("fail2ban: list the jails: %w", err)
	}
	return parseJails(out), nil
}

// parseJails reads the line "Jail list: asterisk, sshd" of `fail2ban-client status`.
func parseJails(out string) (jails []string) {
	for line := range strings.Lines(out) {
		_, list, ok := strings.Cut(line, "Jail list:")
		if !ok {
			continue
		}
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); name != "" {
				jails = append(jails, name)
			}
		}
	}
	return jails
}

// reload has the server read its configuration, but only when all of it can be
// read: a wrong file would end the server.
func (c *client) reload(ctx context.Context) error {
	if out, err := c.ask(ctx, "-t"); err != nil {
		return fmt.Errorf("fail2ban: its configuration is not valid: %w\n%s", err, out)
	}
	if _, err := c.ask(ctx, "reload"); err != nil {
		return fmt.Errorf("fail2ban: reload: %w", err)
	}
	return nil
}

// quoted finds the addresses in the answer to `banned`, which is how Python prints
// lists and dictionaries.
var quoted = regexp.MustCompile(`'([0-9a-fA-F.:]+)'`)

// banned lists who is banned, whatever the jail.
func (c *client) banned(ctx context.Context) ([]netip.Addr, error) {
	out, err := c.ask(ctx, "banned")
	if err != nil {
		return nil, fmt.Errorf("fail2ban: list the bans: %w", err)
	}
	return parseBanned(out), nil
}

func parseBanned(out string) (addrs []netip.Addr) {
	for _, m := range quoted.FindAllStringSubmatch(out, -1) {
		if a, err := netip.ParseAddr(m[1]); err == nil && !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// unban takes back all bans of senders in a network.
func (c *client) unban(ctx context.Context, from netip.Prefix) error {
	addrs, err := c.banned(ctx)
	if err != nil {
		return err
	}
	words := []string{"unban"}
	for _, a := range addrs {
		if from.Contains(a) {
			words = append(words, a.String())
		}
	}
	if len(words) == 1 {
		return nil
	}
	if _, err := c.ask(ctx, words...); err != nil {
		return fmt.Errorf("fail2ban: take back the ban of %v: %w", from, err)
	}
	return nil
}

func (c *client) unbanAll(ctx context.Context) error {
	if _, err := c.ask(ctx, "unban", "--all"); err != nil {
		return fmt.Errorf("fail2ban: take back all bans: %w", err)
	}
	return nil
}

// errDown says that no server answers.
var errDown = errors.New("fail2ban does not run, so nobody is banned for what only logs tell")
