package takeover

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Former is a set of containers, made by hand, that does what a stack of ours would: a compose project, or a container that
// belongs to none. It is left as it is, since its data are the operator's.
type Former struct {
	Stack      string // the name of our stack under stacks: in the configuration
	Project    string // of compose; empty: there is none
	Dir        string // the project's folder, where it is known
	Containers []string
	Ports      []string // of the machine, as 7443/tcp
}

// formerImages tell by their names what a container does: Nextcloud's own images, linuxserver's and the all-in-one's, and
// those of Jitsi Meet.
var formerImages = map[string]*regexp.Regexp{
	"jitsi":     regexp.MustCompile(`(^|/)jitsi/(web|prosody|jicofo|jvb|jigasi|jibri)([:@]|$)`),
	"nextcloud": regexp.MustCompile(`(^|/)nextcloud(/[^/:@]+)?([:@]|$)`),
}

// Formers returns what there is in the stacks' place: what runs, and what Docker starts again.
func Formers(ctx context.Context, docker Docker) ([]Former, error) {
	all, err := inspect(ctx, docker)
	if err != nil {
		return nil, err
	}
	ours := []string{"sae-jitsi", "sae-nextcloud"}
	var out []Former
	for _, c := range all {
		project := c.Config.Labels["com.docker.compose.project"]
		if !c.State.Running && !c.restarts() || slices.Contains(ours, project) {
			continue
		}
		for stack, image := range formerImages {
			if !image.MatchString(c.Config.Image) {
				continue
			}
			i := slices.IndexFunc(out, func(f Former) bool { return f.Stack == stack && f.Project == project && project != "" })
			if i < 0 {
				i = len(out)
				out = append(out, Former{Stack: stack, Project: project, Dir: c.Config.Labels["com.docker.compose.project.working_dir"]})
			}
			out[i].Containers = append(out[i].Containers, c.name())
			out[i].Ports = append(out[i].Ports, c.ports()...)
		}
	}
	for i := range out {
		slices.Sort(out[i].Containers)
		slices.Sort(out[i].Ports)
		out[i].Ports = slices.Compact(out[i].Ports)
	}
	slices.SortFunc(out, func(a, b Former) int {
		return strings.Compare(a.Stack+" "+a.Project+" "+a.Containers[0], b.Stack+" "+b.Project+" "+b.Containers[0])
	})
	return out, nil
}

// Left says what is left as it is, why our stack cannot run beside it, and what to do. Wanted are the ports of our stack,
// as Ports; none where it is off.
func (f Former) Left(wanted []string) string {
	who, stop := "the container "+f.Containers[0], "docker stop "+f.Containers[0]
	if f.Project != "" {
		who, stop = "the compose project "+f.Project, "docker compose --project-name "+f.Project+" stop"
		if f.Dir != "" {
			who += " in " + f.Dir
		}
		who += " (" + strings.Join(f.Containers, ", ") + ")"
	}
	said := who + " is left as it is, with its data"
	taken := slices.DeleteFunc(slices.Clone(f.Ports), func(p string) bool { return !slices.Contains(wanted, p) })
	if len(taken) == 0 {
		return said
	}
	return fmt.Sprintf("%s; it has %s, which stacks.%s wants: '%s' makes room, or give the stack other ports", said, strings.Join(taken, " and "), f.Stack, stop)
}

// container is what Docker tells of one (docker-inspect(1)).
type container struct {
	Name   string
	Config struct {
		Image        string
		Labels       map[string]string
		ExposedPorts map[string]struct{}
	}
	State      struct{ Running bool }
	HostConfig struct {
		NetworkMode   string
		RestartPolicy struct{ Name string }
		PortBindings  map[string][]binding
	}
	NetworkSettings struct {
		Ports map[string][]binding
	}
}

type binding struct{ HostPort string }

// inspect returns the containers of the machine.
func inspect(ctx context.Context, docker Docker) (out []container, err error) {
	ids, err := docker(ctx, "ps", "--all", "--quiet", "--no-trunc")
	if err != nil || strings.TrimSpace(ids) == "" {
		return nil, err
	}
	text, err := docker(ctx, append([]string{"inspect"}, strings.Fields(ids)...)...)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return nil, fmt.Errorf("docker inspect: %w", err)
	}
	return out, nil
}

func (c container) name() string { return strings.TrimPrefix(c.Name, "/") }

func (c container) restarts() bool {
	return c.HostConfig.RestartPolicy.Name != "" && c.HostConfig.RestartPolicy.Name != "no"
}

// ports are those of the machine that lead to a container, or would if it ran.
func (c container) ports() (out []string) {
	if c.HostConfig.NetworkMode == "host" {
		for port := range c.Config.ExposedPorts {
			out = append(out, port)
		}
		return out
	}
	bound := c.NetworkSettings.Ports
	if !c.State.Running {
		bound = c.HostConfig.PortBindings
	}
	for port, bindings := range bound {
		_, protocol, _ := strings.Cut(port, "/")
		for _, b := range bindings {
			if b.HostPort != "" { // a stopped container's may be any
				out = append(out, b.HostPort+"/"+protocol)
			}
		}
	}
	return out
}
