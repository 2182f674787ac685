// Package fail2ban has fail2ban look at the logs that tell of attacks: it writes
// the jails, sees that the server runs them, and takes bans back.
//
// Filters and the action that bans are files of the Debian package. The package
// knows nothing of what its jails protect, nor of who carries the bans out. Other
// jails of the operator are left alone.
package fail2ban

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"
)

// Config says what fail2ban should look at. Without jails our file goes.
type Config struct {
	// Ignore are senders whose attempts are not even counted.
	Ignore []netip.Prefix
	Jails  []Jail
}

// Jail is one thing to look at, see jail.conf(5).
type Jail struct {
	Name   string // lower case, digits and dashes, up to 26 characters
	Filter string // of filter.d, such as sshd or sae-agent-asterisk[mode=scan]
	// Logs are the files to read, which must exist: fail2ban does not start
	// without. Empty: the journal.
	Logs   []string
	Reason string // of the bans, for people; plain characters
	// Retries within Window are a ban for Ban, which doubles with each further one
	// up to LongestBan. Whole seconds.
	Retries                 int
	Window, Ban, LongestBan time.Duration
}

var (
	nameShape   = regexp.MustCompile(`^[a-z][a-z0-9-]{0,25}$`)
	filterShape = regexp.MustCompile(`^[a-z0-9-]+(\[[a-z]+=[a-z-]+\])?$`)
	logShape    = regexp.MustCompile(`^/[A-Za-z0-9_./@:+-]+$`)
	reasonShape = regexp.MustCompile(`^[A-Za-z0-9 ._-]{1,64}$`)
)

// Validate returns what could not be rendered.
func (c Config) Validate() error {
	var errs []error
	for _, p := range c.Ignore {
		if !p.IsValid() {
			errs = append(errs, fmt.Errorf("fail2ban: %v is not a network", p))
		}
	}
	for _, j := range c.Jails {
		if err := j.check(); err != nil {
			errs = append(errs, fmt.Errorf("fail2ban: jail %q: %w", j.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (j Jail) check() error {
	for _, l := range j.Logs {
		if !logShape.MatchString(l) {
			return fmt.Errorf("%q is not the path of a log that fail2ban can read: it may hold letters, digits and _./@:+-", l)
		}
	}
	switch {
	case !nameShape.MatchString(j.Name):
		return errors.New("a name has up to 26 lower-case letters, digits and dashes")
	case !filterShape.MatchString(j.Filter):
		return fmt.Errorf("%q is not a filter", j.Filter)
	case !reasonShape.MatchString(j.Reason):
		return fmt.Errorf("the reason %q must be 1 to 64 plain characters", j.Reason)
	case j.Retries < 1 || j.Window < time.Second || j.Ban < time.Second || j.LongestBan < j.Ban:
		return errors.New("retries, window and ban must be positive, and the longest ban not shorter than the first")
	}
	return nil
}

// header begins the file of ours.
const header = `# Written by sae-agent from its configuration, and written anew when that changes: what you change here is lost.
# Your own settings of these jails go into /etc/fail2ban/jail.local; addresses never to ban into firewall.allow of
# /etc/sae-agent/config.yaml.
`

// Render writes the jails as a file of jail.d.
func Render(c Config) []byte {
	ignore := []string{"127.0.0.0/8", "::1"}
	for _, p := range c.Ignore {
		ignore = append(ignore, p.String())
	}
	var b strings.Builder
	b.WriteString(header)
	for _, j := range c.Jails {
		fmt.Fprintf(&b, "\n[%s]\nenabled = true\nfilter = %s\n", j.Name, j.Filter)
		if len(j.Logs) == 0 {
			b.WriteString("backend = systemd\n")
		} else {
			fmt.Fprintf(&b, "backend = auto\nlogpath = %s\n", strings.Join(j.Logs, "\n          "))
		}
		fmt.Fprintf(&b, "usedns = no\nignoreip = %s\n", strings.Join(ignore, " "))
		fmt.Fprintf(&b, "maxretry = %d\nfindtime = %d\nbantime = %d\n", j.Retries, seconds(j.Window), seconds(j.Ban))
		fmt.Fprintf(&b, "bantime.increment = true\nbantime.maxtime = %d\n", seconds(j.LongestBan))
		fmt.Fprintf(&b, "action = sae-agent[reason=\"%s\"]\n", j.Reason)
	}
	return []byte(b.String())
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }
