package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/format"
	"github.com/sae-agent/sae-agent/agent/problem"
)

// watchEvery is how often --watch looks again.
const watchEvery = 2 * time.Second

func newStatusCommand() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the appliance is, what is wrong first",
		Long: `Show how the appliance is on one screen: what is wrong, with its fix, then the
network, DHCP, the phones and the parts. The exit status is 0 when nothing is
wrong, else 1. It is coloured on a terminal, unless NO_COLOR is set.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := readerOf(cmd)
			if err != nil {
				return err
			}
			if watch {
				return watchStatus(cmd, r)
			}
			st, err := ask(cmd, control.GetStatus, control.None{})
			if err != nil {
				return whyDown(err)
			}
			if err := show(cmd, st, func(w io.Writer) { r.on(w).status(w, st, time.Now()) }); err != nil {
				return err
			}
			isError := func(p problem.Problem) bool { return p.Severity == problem.Error }
			if slices.ContainsFunc(st.Problems, isError) {
				return &silentError{}
			}
			return nil
		},
	}
	addLanguage(cmd)
	cmd.Flags().BoolVar(&watch, "watch", false, "look again every two seconds, until interrupted")
	return cmd
}

// whyDown adds to why no daemon answers that none starts by itself.
func whyDown(err error) error {
	var later *format.LaterError
	if errors.Is(err, control.ErrNoDaemon) && errors.As(format.Check(defaultState), &later) {
		return later
	}
	return err
}

// watchStatus shows the status again and again until interrupted. A daemon that is
// being restarted is waited for.
func watchStatus(cmd *cobra.Command, r reader) error {
	ctx, w := cmd.Context(), cmd.OutOrStdout()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		var screen bytes.Buffer // shown at once, so that it does not flicker
		if st, err := control.Call(ctx, daemon(cmd), control.GetStatus, control.None{}); err == nil {
			r.on(w).status(&screen, st, time.Now())
		} else if ctx.Err() == nil {
			fmt.Fprintf(&screen, "sae-agent: %v\n", whyDown(err))
		}
		if ctx.Err() != nil {
			return nil
		}
		if _, _, ok := terminal(w); ok {
			_, _ = io.WriteString(w, "\x1b[H\x1b[2J")
		}
		if _, err := w.Write(append(screen.Bytes(), '\n')); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
