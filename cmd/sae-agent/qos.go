package main

import (
	"fmt"
	"io"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
)

// printQoS says how the upload is shaped, when it should be.
func printQoS(w io.Writer, q control.QoSStatus) {
	if q.BitsPerSecond == 0 {
		return
	}
	fmt.Fprintf(w, "Upload         %s, shaped by %s\n", config.Bandwidth(q.BitsPerSecond), q.Discipline)
}
