package main

import (
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
)

func newLeasesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "leases",
		Short: "List the DHCP leases",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			leases, err := ask(cmd, control.ListLeases, control.None{})
			if err != nil {
				return err
			}
			return show(cmd, leases, func(w io.Writer) {
				now := time.Now()
				var rows [][]string
				for _, l := range leases {
					rows = append(rows, []string{l.Address, l.MAC, dash(l.Hostname), dash(l.Class), l.State, until(now, l.Expires)})
				}
				table(w, []string{"ADDRESS", "MAC", "HOSTNAME", "CLASS", "STATE", "EXPIRES"}, rows)
			})
		},
	}
}
