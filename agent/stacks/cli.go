package stacks

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/sae-agent/sae-agent/agent/runner"
)

// minCompose is the oldest compose v2 that has what is used here (up --wait-timeout).
const minCompose = 20

// cli is Docker's command line.
type cli struct {
	runner Runner
	docker string
	socket string
	env    []string

	mu sync.Mutex // guards the following
	ok bool       // a compose that will do was found
}

// installed reports whether the program is there at all.
func (c *cli) installed() bool {
	_, err := exec.LookPath(c.docker)
	return err == nil
}

// run runs docker. name is the end of the unit's name.
func (c *cli) run(ctx context.Context, name string, cmd runner.Command, args ...string) (runner.Result, error) {
	cmd.Name = "sae-agent-stacks-" + name
	cmd.Argv = append([]string{c.docker, "--host", "unix://" + c.socket}, args...)
	cmd.Env = append(cmd.Env, c.env...)
	return c.runner.Run(ctx, cmd)
}

var composeVersion = regexp.MustCompile(`^v?(\d+)\.(\d+)`)

// check looks once whether there is a compose that will do.
func (c *cli) check(ctx context.Context) *Problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ok {
		return nil
	}
	if !c.installed() {
		return problem(NoDocker, installDocker, "Docker is not installed")
	}
	r, err := c.run(ctx, "version", runner.Command{}, "compose", "version", "--short")
	if err != nil {
		return problem(Failed, "see the journal", "run docker: %v", err)
	}
	m := composeVersion.FindStringSubmatch(strings.TrimSpace(string(r.Stdout)))
	if r.Exit != 0 || m == nil {
		if _, err := exec.LookPath("docker-compose"); err == nil {
			return problem(OldCompose, "install the package docker-compose-plugin: "+installDocker,
				"only docker-compose v1 is here, which its makers have given up; compose v2 ('docker compose') is needed")
		}
		return problem(NoCompose, "install the package docker-compose-plugin: "+installDocker, "Docker has no compose plugin")
	}
	major, _ := strconv.Atoi(m[1])
	minor, _ := strconv.Atoi(m[2])
	if major < 2 || major == 2 && minor < minCompose {
		return problem(OldCompose, "install the package docker-compose-plugin: "+installDocker, "Docker's compose plugin is %s, and 2.%d is the oldest that will do", m[0], minCompose)
	}
	c.ok = true
	return nil
}

// composeCall is one run of docker compose.
type composeCall struct {
	args   []string
	stdin  []byte
	stdout io.Writer // nil: it is returned
	name   string    // end of the unit's name; empty: the stack's own, one at a time
}

// compose runs docker compose on the stack's project; a failure is a *Problem.
func (s *stack) compose(ctx context.Context, call composeCall) error {
	_, err := s.composeOutput(ctx, call)
	return err
}

func (s *stack) composeOutput(ctx context.Context, call composeCall) ([]byte, error) {
	dir := s.dir()
	args := append([]string{
		"compose", "--ansi", "never", "--progress", "plain", "--project-name", s.project(), "--project-directory", dir,
		"--file", dir + "/compose.yaml", "--env-file", dir + "/.env",
	}, call.args...)
	name := s.name
	if call.name != "" {
		name += "-" + call.name
	}
	r, err := s.cli.run(ctx, name, runner.Command{Stdin: call.stdin, Stdout: call.stdout}, args...)
	if err != nil {
		return nil, fmt.Errorf("stacks: %s: %w", s.name, err)
	}
	if r.Exit != 0 {
		said := append(r.Stderr, r.Stdout...)
		p := cliProblem(fmt.Sprintf("docker compose %s", call.args[0]), said)
		// What a program in a container has said is better told by who knows it.
		if k := s.kind(); k != nil && call.args[0] == "exec" && p.Code == Failed {
			if text := k.Excerpt(said); text != "" {
				p.What = clip(text)
			}
		}
		return r.Stdout, p
	}
	return r.Stdout, nil
}
