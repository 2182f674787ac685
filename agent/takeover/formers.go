package takeover

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Former is a set of containers, made by hand, that does what a stack of ours would: a compose project, or a container that
// belongs to none. It is left as it is, since its data are the operator's.
type Former struct {
	Stack      string // the name of our stack under stacks: in the configuration
	Project    string // of compose; empty: there is none
	Dir        string // the project's folder, where it is known
	Containers []string
	Ports      []Ports
}

// Ports are some of the machine's, in a row.
type Ports struct {
	First, Last uint16
	Protocol    string // tcp, udp or sctp
}

// String is as 7443/tcp or 20000-20050/udp.
func (p Ports) String() string {
	if p.First == p.Last {
		return fmt.Sprintf("%d/%s", p.First, p.Protocol)
	}
	return fmt.Sprintf("%d-%d/%s", p.First, p.Last, p.Protocol)
}

func (p Ports) overlap(q Ports) bool {
	return p.Protocol == q.Protocol && p.First <= q.Last && q.First <= p.Last
}

// readPorts reads what Docker calls a port.
func readPorts(number, protocol string) (Ports, bool) {
	first, last, isRange := strings.Cut(number, "-")
	if !isRange {
		last = first
	}
	from, err := strconv.ParseUint(first, 10, 16)
	to, toErr := strconv.ParseUint(last, 10, 16)
	return Ports{uint16(from), uint16(to), protocol}, err == nil && toErr == nil
}

// formerImages tell by their names what a container does: Nextcloud's own images, linuxserver's and the all-in-one's, and
// those of Jitsi Meet.
func formerImages() map[string]*regexp.Regexp {
	return map[string]*regexp.Regexp{
		"jitsi":     regexp.MustCompile(`(^|/)jitsi/(web|prosody|jicofo|jvb|jigasi|jibri)([:@]|$)`),
		"nextcloud": regexp.MustCompile(`(^|/)nextcloud(/[^/:@]+)?([:@]|$)`),
	}
}

// Formers returns what there is in the stacks' place: what runs, and what Docker starts again even when it was stopped by
// hand. Their ports are those that a stack could not have on addr, the appliance's address.
func (all Containers) Formers(addr netip.Addr) (out []Former) {
	images := formerImages()
	for _, c := range all {
		if !c.State.Running && c.HostConfig.RestartPolicy.Name != "always" {
			continue
		}
		project := c.Config.Labels["com.docker.compose.project"]
		for stack, image := range images {
			if ours := "sae-" + stack; project == ours || !image.MatchString(c.Config.Image) {
				continue
			}
			i := slices.IndexFunc(out, func(f Former) bool { return f.Stack == stack && f.Project == project && project != "" })
			if i < 0 {
				i = len(out)
				out = append(out, Former{Stack: stack, Project: project, Dir: c.Config.Labels["com.docker.compose.project.working_dir"]})
			}
			out[i].Containers = append(out[i].Containers, c.name())
			out[i].Ports = append(out[i].Ports, c.ports(addr)...)
		}
	}
	for i := range out {
		slices.Sort(out[i].Containers)
		slices.SortFunc(out[i].Ports, func(a, b Ports) int { return strings.Compare(a.String(), b.String()) })
		out[i].Ports = slices.Compact(out[i].Ports)
	}
	slices.SortFunc(out, func(a, b Former) int {
		return strings.Compare(a.Stack+" "+a.Project+" "+a.Containers[0], b.Stack+" "+b.Project+" "+b.Containers[0])
	})
	return out
}

// Left says what is left as it is, why our stack cannot run beside it, and what to do. Wanted are the ports of our stack;
// none where it is off.
func (f Former) Left(wanted []Ports) string {
	who, stop := "the container "+f.Containers[0], "docker stop "+f.Containers[0]
	if f.Project != "" {
		who, stop = "the compose project "+f.Project, "docker compose --project-name "+f.Project+" stop"
		if f.Dir != "" {
			who += " in " + f.Dir
		}
		who += " (" + strings.Join(f.Containers, ", ") + ")"
	}
	said := who + " is left as it is, with its data"
	var taken []string
	for _, w := range wanted {
		if slices.ContainsFunc(f.Ports, w.overlap) {
			taken = append(taken, w.String())
		}
	}
	if len(taken) == 0 {
		return said
	}
	return fmt.Sprintf("%s; it has %s, which stacks.%s wants: '%s' makes room, or give the stack other ports", said, strings.Join(taken, " and "), f.Stack, stop)
}
