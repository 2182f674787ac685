package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent"
	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/doctor"
	"github.com/sae-agent/sae-agent/agent/problem"
)

func newDoctorCommand() *cobra.Command {
	path, state := defaultConfig, defaultState
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find what is wrong with this machine, and say how to mend it",
		Long: `Look for what keeps the appliance from working: other DHCP and TFTP servers,
another manager of a card, a missing link, ports that collide, a wrong clock, a
full disk. The LAN is searched for other DHCP servers. Nothing is changed. The exit status is 1 when something does not work.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := readerOf(cmd)
			if err != nil {
				return err
			}
			s := factSource(cmd, path, state)
			s.Facts = doctor.SearchDHCP(cmd.Context(), s.Facts, func(ctx context.Context) error {
				_, err := control.Call(ctx, daemon(cmd), control.SearchDHCPServers, control.None{})
				return err
			})
			facts, err := doctor.Gather(cmd.Context(), s)
			if err != nil {
				return err
			}
			problems := doctor.Examine(facts)
			if err := show(cmd, problems, func(w io.Writer) { r.on(w).findings(w, problems) }); err != nil {
				return err
			}
			if slices.ContainsFunc(problems, func(p problem.Problem) bool { return p.Severity == problem.Error }) {
				return &silentError{}
			}
			return nil
		},
	}
	addLanguage(cmd)
	cmd.Flags().StringVar(&path, "config", path, "the configuration file")
	cmd.Flags().StringVar(&state, "state-dir", state, "where the daemon keeps its state")
	return cmd
}

// factSource is where doctor's facts come from.
func factSource(cmd *cobra.Command, path, state string) doctor.Source {
	s := doctor.Source{Facts: doctor.Facts{ConfigPath: path}, StateDir: state}
	s.Daemon = func(ctx context.Context) (control.Status, error) {
		st, err := control.Call(ctx, daemon(cmd), control.GetStatus, control.None{})
		return st, whyDown(err)
	}
	data, err := config.ReadFile(path)
	if err == nil {
		s.Config, _, err = agent.KnowPhones(config.Options{}).Parse(path, data)
	}
	s.ConfigErr = err
	return s
}

// findings prints what is wrong with the machine.
func (r reader) findings(w io.Writer, problems []problem.Problem) {
	if len(problems) == 0 {
		fmt.Fprintln(w, r.Format("%d checks, nothing is wrong.", len(doctor.Checks())))
		return
	}
	for _, p := range problems {
		r.problem(w, p)
	}
}
