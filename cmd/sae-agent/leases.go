package main

import (
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
)

func newLeasesCommand() *cobra.Command {
	return query("leases", "List the DHCP leases", control.ListLeases, func(w io.Writer, leases []control.Lease) {
		now := time.Now()
		var rows [][]string
		for _, l := range leases {
			rows = append(rows, []string{l.Address, l.MAC, dash(l.Hostname), dash(l.Class), l.State, until(now, l.Expires)})
		}
		table(w, []string{"ADDRESS", "MAC", "HOSTNAME", "CLASS", "STATE", "EXPIRES"}, rows)
	})
}
