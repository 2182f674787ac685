package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent"
	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/setup"
)

// configMode lets the group sae-agent read the file, which may hold secrets.
const configMode = 0o640

// written is what init and import print.
type written struct {
	File  string   `json:"file,omitempty"` // empty: printed
	Notes []string `json:"notes"`
}

func newInitCommand() *cobra.Command {
	path, quiet, fresh := defaultConfig, false, false
	var offline agent.Offline
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a configuration from what the machine has",
		Long: `Look at the network cards and write a configuration file: the card with the
default route is the WAN, another one the LAN. Where sae-agent has run already, what
it ran last is written, since the addresses of the cards are then its own doing. A
file that exists is left alone; '--config -' prints instead of writing.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := os.Stat(path); err == nil && quiet {
				return nil
			}
			offline.Runtime, _ = cmd.Flags().GetString("runtime-dir")
			data, err := offline.Current()
			if err != nil {
				return err
			}
			if data != nil && !fresh {
				return writeText(cmd, path, data, []string{"sae-agent has run on this machine already: this is the configuration that it ran last."})
			}
			m, err := setup.Inspect(cmd.Context())
			if err != nil {
				return err
			}
			m.Ran = parsedRun(data)
			c, notes, err := setup.Draft(m)
			if err != nil {
				return err
			}
			return writeConfig(cmd, path, c, "# Written by sae-agent init. 'sae-agent check' says what is wrong after an edit.\n", notes)
		},
	}
	cmd.Flags().StringVar(&path, "config", path, "the file to write, or - to print it")
	cmd.Flags().StringVar(&offline.State, "state-dir", defaultState, "where applied configurations are kept")
	cmd.Flags().BoolVar(&fresh, "fresh", false, "look at the cards also where sae-agent has run already")
	cmd.Flags().BoolVar(&quiet, "quiet", false, "do nothing where there is a file already, and call that a success")
	return cmd
}

// parsedRun is the configuration that ran last, for setup.Draft; nil: there was none, or one of an earlier version with
// what is refused now.
func parsedRun(data []byte) *config.Config {
	if data == nil {
		return nil
	}
	c, err := config.Parse("what ran last", data)
	if err != nil {
		return nil // the cards say what they can
	}
	return c
}

// writeConfig writes a new configuration file, never over an old one.
func writeConfig(cmd *cobra.Command, path string, c *config.Config, head string, notes []string) error {
	for _, n := range notes {
		head += "# " + n + "\n"
	}
	data, err := c.MarshalWith(head)
	if err != nil {
		return err
	}
	if r, err := check(path, data); err == nil {
		for _, d := range r.Errors {
			notes = append(notes, "to be mended: "+d.String())
		}
	}
	return writeText(cmd, path, data, notes)
}

// writeText writes the text of a configuration file where there is none.
func writeText(cmd *cobra.Command, path string, data []byte, notes []string) error {
	if path == "-" {
		_, err := cmd.OutOrStdout().Write(data)
		for _, n := range notes {
			fmt.Fprintln(cmd.ErrOrStderr(), n)
		}
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, configMode)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists already and is left alone: move it away, or print with --config -", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path)) // half a file would be in the way
	}
	return show(cmd, written{path, notes}, func(w io.Writer) {
		fmt.Fprintf(w, "Wrote %s.\n%s", path, strings.Join(append(notes, ""), "\n"))
		fmt.Fprintln(w, "Next: 'sae-agent phones add MAC --model T42U' gives a phone its line, and so does naming it there; 'sae-agent check' says what is wrong after an edit.")
	})
}
