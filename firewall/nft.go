package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"
)

// nftTime is how long one call of nft may take, on a machine under attack.
const nftTime = 30 * time.Second

// errAbsent says that our table, or what was asked of it, is not there.
var errAbsent = errors.New("firewall: the table is not there")

// errNoProgram says that this machine cannot filter.
var errNoProgram = errors.New("firewall: there is no nft on this machine: apt install nftables")

// nft runs nft(8) with a script as its input. What the script does is done as a
// whole or not at all.
func nft(ctx context.Context, script string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, nftTime)
	defer cancel()
	path, err := exec.LookPath("nft")
	if err != nil {
		path = "/usr/sbin/nft"
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdin = strings.NewReader(script)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	switch {
	case err == nil:
		return out, nil
	case errors.Is(err, os.ErrNotExist):
		return nil, errNoProgram
	case strings.Contains(stderr.String(), "No such file or directory"):
		return nil, errAbsent
	}
	first, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
	return nil, fmt.Errorf("firewall: nft %s: %w: %s", strings.Join(args, " "), err, first)
}

// load runs a script as one transaction.
func load(ctx context.Context, script string) error {
	_, err := nft(ctx, script, "--file", "-")
	return err
}

// fingerprint is our table as the kernel has it, without what packets change. It
// is errAbsent when there is no table.
func fingerprint(ctx context.Context) (string, error) {
	out, err := nft(ctx, "", "--stateless", "--terse", "--numeric", "list", "table", "inet", TableName)
	return string(out), err
}

// member is an element of a set.
type member struct {
	set     string
	addr    netip.Addr
	concat  string        // instead of addr, in nft's words
	timeout time.Duration // 0: for ever
	expires time.Duration // what is left of it
}

// members lists the elements of sets.
func members(ctx context.Context, names ...string) ([]member, error) {
	var out []member
	for _, name := range names {
		data, err := nft(ctx, "", "--json", "list", "set", "inet", TableName, name)
		if err != nil {
			return nil, err
		}
		list, err := parseMembers(data)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// script replaces the rules of our table, whether it is there or not, and adds
// members to its sets. Sets and counters keep their content; chains and sets
// that are not wanted any more go.
func script(rules string, obsolete inventory, add []member) string {
	var b strings.Builder
	fmt.Fprintf(&b, "add table inet %s\nflush table inet %[1]s\n", TableName)
	for _, c := range obsolete.chains {
		fmt.Fprintf(&b, "delete chain inet %s %s\n", TableName, c)
	}
	for _, s := range obsolete.sets {
		fmt.Fprintf(&b, "delete set inet %s %s\n", TableName, s)
	}
	b.WriteString(rules)
	addMembers(&b, add)
	return b.String()
}

// perLine bounds the members in one command.
const perLine = 500

func addMembers(b *strings.Builder, add []member) {
	bySet := make(map[string][]string)
	var order []string
	for _, m := range add {
		if bySet[m.set] == nil {
			order = append(order, m.set)
		}
		bySet[m.set] = append(bySet[m.set], m.String())
	}
	for _, set := range order {
		words := bySet[set]
		for len(words) > 0 {
			n := min(perLine, len(words))
			fmt.Fprintf(b, "add element inet %s %s { %s }\n", TableName, set, strings.Join(words[:n], ", "))
			words = words[n:]
		}
	}
}

// String is the member in nft's words.
func (m member) String() string {
	key := m.concat
	if key == "" {
		key = m.addr.String()
	}
	if m.timeout == 0 {
		return key
	}
	timeout, expires := whole(m.timeout), whole(m.expires)
	return fmt.Sprintf("%s timeout %ds expires %ds", key, max(timeout, expires), expires)
}

// whole rounds up to seconds: 0 would mean for ever.
func whole(d time.Duration) int64 {
	return max(1, int64((d+time.Second-1)/time.Second))
}

// Foreign is a chain of somebody else's table.
type Foreign struct{ Family, Table, Chain, Hook, Policy string }

// Foreigners lists the chains of other tables: by them, another firewall is known.
// Without nft(8) there are none.
func Foreigners(ctx context.Context) ([]Foreign, error) {
	data, err := nft(ctx, "", "--json", "list", "chains")
	if errors.Is(err, errNoProgram) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseForeigners(data)
}
