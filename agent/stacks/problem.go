package stacks

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/sae-agent/sae-agent/agent/stacks/docker"
)

// Errors for callers.
var (
	ErrUnknown  = errors.New("no such stack or service")
	ErrDisabled = errors.New("the stack is off")
	ErrBusy     = errors.New("the stack is being worked on")
	// ErrNotRunning says that Run does not run.
	ErrNotRunning = errors.New("stacks are not looked after now")
)

// Code names a cause for which a stack is not as it should be.
type Code string

// Causes.
const (
	NoDocker     Code = "no-docker"
	DaemonDown   Code = "daemon-down"
	WrongAPI     Code = "wrong-api"
	NoCompose    Code = "no-compose"
	OldCompose   Code = "old-compose"
	DiskFull     Code = "disk-full"
	MemoryShort  Code = "memory-short"
	ImageMissing Code = "image-missing"
	RegistryDown Code = "registry-down"
	PortTaken    Code = "port-taken"
	PortStale    Code = "port-stale"
	NoAddress    Code = "no-address"
	Unhealthy    Code = "unhealthy"
	ForeignData  Code = "foreign-data"
	Failed       Code = "failed"
)

// codes are all of them, for metrics.
var codes = [...]Code{
	NoDocker, DaemonDown, WrongAPI, NoCompose, OldCompose, DiskFull, MemoryShort, ImageMissing, RegistryDown, PortTaken, PortStale, NoAddress, Unhealthy, ForeignData, Failed,
}

// Problem is why a stack is not as it should be, and what mends it.
type Problem struct {
	Code Code
	What string
	Fix  string
}

func (p *Problem) Error() string { return p.What + ": " + p.Fix }

func problem(code Code, fix, format string, args ...any) *Problem {
	return &Problem{Code: code, Fix: fix, What: fmt.Sprintf(format, args...)}
}

const installDocker = "'sae-agent stacks install-docker' installs it"

// daemonProblem says what keeps Docker's daemon from answering.
func daemonProblem(err error, installed bool) *Problem {
	switch {
	case errors.Is(err, docker.ErrAPI):
		return problem(WrongAPI, "install a current Docker: "+installDocker, "%v", err)
	case !installed:
		return problem(NoDocker, installDocker, "Docker is not installed")
	case errors.Is(err, docker.ErrDown):
		return problem(DaemonDown, "'systemctl start docker' starts it, 'journalctl -u docker' says why it ended", "Docker's daemon does not answer")
	}
	return problem(Failed, "'journalctl -u docker' may say more", "Docker's daemon: %v", err)
}

const noSuchImage = "check stacks.registry; the image may have been withdrawn, a newer sae-agent knows another"

// said are the words by which Docker and Compose tell what went wrong.
var said = []struct {
	words *regexp.Regexp
	code  Code
	fix   string
}{
	{regexp.MustCompile(`(?i)cannot connect to the docker daemon|error during connect|is the docker daemon running`), DaemonDown, "'systemctl start docker' starts it"},
	{regexp.MustCompile(`(?i)no space left on device|disk quota exceeded`), DiskFull, "make room, 'docker image prune -a' removes images that nothing uses"},
	{regexp.MustCompile(`(?i)port is already allocated|address already in use`), PortTaken, "'ss -lntup' shows who has it; stop that, or change the port under stacks:"},
	{regexp.MustCompile(`(?i)cannot assign requested address`), NoAddress, "the LAN card lacks its address; sae-agent status says why"},
	{regexp.MustCompile(`(?i)manifest (unknown|for .* not found)|pull access denied|name unknown|no such image|repository does not exist`), ImageMissing, noSuchImage},
	{regexp.MustCompile(`(?i)dial tcp|no such host|connection refused|i/o timeout|tls handshake|unexpected eof|toomanyrequests|temporary failure|context deadline`), RegistryDown, "it is tried again by itself; the WAN or the registry may be down"},
	{regexp.MustCompile(`(?i)client version .* is too (old|new)`), WrongAPI, "install a current Docker: " + installDocker},
	{regexp.MustCompile(`(?i)is unhealthy|exited \(\d+\)|didn't complete successfully|dependency failed`), Unhealthy, "'sae-agent stacks logs' shows what it says"},
}

// cliProblem reads why a docker command failed.
func cliProblem(what string, output []byte) *Problem {
	line := lastLine(output)
	for _, s := range said {
		if s.words.Match(output) {
			if m := s.words.FindIndex(output); m != nil {
				line = lineAround(output, m[0])
			}
			return problem(s.code, s.fix, "%s: %s", what, line)
		}
	}
	return problem(Failed, "'sae-agent stacks logs' and 'journalctl -u docker' may say more", "%s: %s", what, line)
}

const maxLine = 1500

func lineAround(output []byte, at int) string {
	text := string(output)
	start := strings.LastIndexByte(text[:at], '\n') + 1
	end := len(text)
	if i := strings.IndexByte(text[at:], '\n'); i >= 0 {
		end = at + i
	}
	return clip(text[start:end])
}

func lastLine(output []byte) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return clip(lines[len(lines)-1])
}

func clip(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > maxLine {
		s = s[:maxLine] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}
