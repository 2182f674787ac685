package main

import (
	"fmt"
	"io"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
)

// printServices prints a line for the services that are installed.
func printServices(w io.Writer, list []control.Service, now time.Time) {
	for i, s := range list {
		title := ""
		if i == 0 {
			title = "Services"
		}
		fmt.Fprintf(w, "%-13s  %s %s", title, s.Name, s.State)
		if !s.Since.IsZero() {
			fmt.Fprintf(w, ", since %s", short(now.Sub(s.Since)))
		}
		fmt.Fprintln(w)
	}
}
