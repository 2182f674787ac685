package install

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/problem"
)

// modulesURL is where FreePBX fetches its modules; the script does not name it.
const modulesURL = "http://mirror.freepbx.org"

// reachTime is how long a host may take to answer.
const reachTime = 15 * time.Second

var urlInScript = regexp.MustCompile(`https?://[A-Za-z0-9.-]+\.[a-z]{2,}(?::\d+)?`)

// Hosts are the addresses, host and port, that a script downloads from: it changes much of the machine before it gets to
// the last of them.
func (i Installer) Hosts(script []byte) []string {
	var out []string
	add := func(address string) {
		u, err := url.Parse(address)
		if err != nil {
			return
		}
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		if at := net.JoinHostPort(u.Hostname(), port); !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	for line := range strings.Lines(string(script)) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for _, address := range urlInScript.FindAllString(line, -1) {
			add(address)
		}
	}
	if i.FreePBX {
		add(modulesURL)
	}
	return out
}

// Reach says which of the hosts cannot be reached from here. Nothing is asked of them.
func Reach(ctx context.Context, dial func(ctx context.Context, network, addr string) (net.Conn, error), hosts []string) (out []problem.Problem) {
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	errs := make(chan error, len(hosts))
	for _, at := range hosts {
		go func() {
			conn, err := dial(ctx, "tcp", at)
			if err == nil {
				err = conn.Close()
			}
			if err != nil {
				var op *net.OpError
				if errors.As(err, &op) { // without the address, which is said already
					err = op.Err
				}
				err = fmt.Errorf("%s: %w", at, err)
			}
			errs <- err
		}()
	}
	var words []string
	for range hosts {
		if err := <-errs; err != nil {
			words = append(words, err.Error())
		}
	}
	if len(words) == 0 {
		return nil
	}
	slices.Sort(words)
	return []problem.Problem{{
		Severity: problem.Error, Part: "install", What: "the installer downloads from hosts that cannot be reached: " + strings.Join(words, "; "),
		Fix: "look at the way to the Internet and at the resolvers (sae-agent status), or wait until they are there again",
	}}
}
