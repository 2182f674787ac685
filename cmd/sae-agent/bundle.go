package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
)

func newStacksUpCommand() *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "up NAME",
		Short: "Bring a stack up that was stopped, and wait until it is healthy",
		Long: `Bring a stack up that was stopped, and wait until it is healthy. With --from its
images are taken out of a file that 'stacks bundle' made elsewhere, for a site
without a way to a registry; where the stack runs already that is an update, with a
backup and a way back. Root only.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := control.StackUpOptions{Stack: args[0]}
			if from != "" {
				var err error
				if o.Images, err = loadImages(cmd.Context(), from); err != nil {
					return err
				}
			}
			if _, err := ask(cmd, control.StartStack, o); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "Up.")
			return nil
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "file with images, of 'stacks bundle'")
	return cmd
}

func newStacksBundleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "bundle FILE",
		Short: "Write the images of all stacks that are on into a file, for 'stacks up --from' elsewhere",
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := ask(cmd, control.ListStacks, control.None{})
			if err != nil {
				return err
			}
			names, err := nameImages(cmd.Context(), all)
			if err != nil {
				return err
			}
			if err := saveImages(cmd.Context(), args[0], names); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d images are in %s.\n", len(names), args[0])
			return nil
		},
	}
}

// nameImages gives the images of the stacks their names without a digest, which is
// what a file of images has, and returns these.
func nameImages(ctx context.Context, all []control.Stack) (names []string, err error) {
	seen := make(map[string]bool)
	for _, s := range all {
		for _, v := range s.Services {
			name := shortImage(v.Image)
			if seen[name] {
				continue
			}
			seen[name] = true
			if _, err := docker(ctx, "image", "tag", v.Image, name); err != nil {
				return nil, err
			}
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, errors.New("no stack is on")
	}
	return names, nil
}

// saveImages writes the file as a whole or not at all.
func saveImages(ctx context.Context, file string, names []string) error {
	part := file + ".part"
	_, err := docker(ctx, append([]string{"image", "save", "--output", part}, names...)...)
	if err == nil {
		err = os.Rename(part, file)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(part))
	}
	return nil
}

var loadedImage = regexp.MustCompile(`(?m)^Loaded image: (\S+)`)

// loadImages gives Docker the images of a file, and returns their names.
func loadImages(ctx context.Context, file string) (names []string, err error) {
	out, err := docker(ctx, "image", "load", "--input", file)
	if err != nil {
		return nil, err
	}
	for _, m := range loadedImage.FindAllSubmatch(out, -1) {
		names = append(names, string(m[1]))
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s has no images with names: make it with 'sae-agent stacks bundle'", file)
	}
	return names, nil
}

// docker runs Docker's program, which finds the daemon as DOCKER_HOST says.
func docker(ctx context.Context, args ...string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("docker %s %s: %w: %s", args[0], args[1], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
