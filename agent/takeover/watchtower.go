package takeover

import (
	"context"
	"regexp"
)

// StopContainer stops a container and keeps Docker from starting it again.
const StopContainer Kind = "stop-container"

// Container is a container that is not ours.
type Container struct {
	Name, Image string
	Restart     string // Docker's restart policy
}

// Docker runs 'docker WORDS' and returns what it printed.
type Docker func(ctx context.Context, words ...string) (string, error)

// RunDocker is the Docker of this machine.
func RunDocker(ctx context.Context, words ...string) (string, error) {
	return output(ctx, "docker "+words[0], "docker", words...)
}

// watchtower is the name of an image that updates every container of its machine when a newer image comes, whoever
// made it: containrrr/watchtower, and those who went on with it.
const watchtower = `(^|/)watchtower(:|@|$)`

// Updaters returns the containers that run and would update those of the stacks.
func (all Containers) Updaters() (out []Container) {
	image := regexp.MustCompile(watchtower)
	for _, c := range all {
		if c.State.Running && image.MatchString(c.Config.Image) {
			out = append(out, Container{c.name(), c.Config.Image, c.HostConfig.RestartPolicy.Name})
		}
	}
	return out
}

func planUpdaters(m Machine) (out []Step) {
	for _, c := range m.Updaters {
		out = append(out, Step{
			Kind: StopContainer, Container: c.Name, Restart: c.Restart,
			Why: c.Image + " updates containers without asking whether the data can follow; the other containers that it updated are yours to update now",
		})
	}
	return out
}

func (t Takeover) stopContainer(ctx context.Context, s Step) error {
	// In this order: one that ends again and again cannot be updated between two starts.
	if _, err := t.Docker(ctx, "stop", s.Container); err != nil {
		return err
	}
	_, err := t.Docker(ctx, "update", "--restart=no", s.Container)
	return err
}

func (t Takeover) startContainer(ctx context.Context, s Step) error {
	if _, err := t.Docker(ctx, "update", "--restart="+s.Restart, s.Container); err != nil {
		return err
	}
	_, err := t.Docker(ctx, "start", s.Container)
	return err
}
