package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := struct {
				Version string `json:"version"`
				Go      string `json:"go"`
				Arch    string `json:"arch"`
			}{version, runtime.Version(), runtime.GOARCH}
			return show(cmd, v, func(w io.Writer) { fmt.Fprintf(w, "sae-agent %s (%s, %s)\n", v.Version, v.Go, v.Arch) })
		},
	}
}
