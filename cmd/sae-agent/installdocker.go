package main

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/stacks/install"
)

func newInstallDockerCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "install-docker",
		Short: "Install Docker and its compose plugin from its makers' repository",
		Long: `Set up the apt repository of Docker's makers, with its key if that is the one
whose fingerprint is known here, and install Docker with its compose plugin from
there. Packages of Debian that they take the place of are named before, and asked
about. Needs root.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, _ := cmd.Flags().GetString("runtime-dir")
			i := install.Installer{Root: "/", BaseURL: install.BaseURL, Fingerprint: install.Fingerprint, HTTP: http.DefaultClient, Runner: newRunner(dir)}
			return installDocker(cmd, i, yes)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func installDocker(cmd *cobra.Command, i install.Installer, yes bool) error {
	steps := []string{
		"set up the repository " + i.BaseURL + " with the key " + i.Fingerprint,
		"install " + strings.Join(install.Packages, ", "),
	}
	replaced, err := i.Replaces(cmd.Context())
	if err != nil {
		return err
	}
	if len(replaced) > 0 {
		steps = append(steps, "replace Debian's "+strings.Join(replaced, ", ")+"; containers that run are stopped")
	}
	return agree(cmd, steps, yes, "", func() error {
		fmt.Fprintln(cmd.ErrOrStderr(), "Installing; this takes minutes.")
		return i.Run(cmd.Context())
	})
}
