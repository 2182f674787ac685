package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/doctor"
	"github.com/sae-agent/sae-agent/agent/parts/defence"
	"github.com/sae-agent/sae-agent/agent/parts/firewall"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/setup/leasefile"
	"github.com/sae-agent/sae-agent/agent/takeover"
	nft "github.com/sae-agent/sae-agent/firewall"
	"github.com/sae-agent/sae-agent/firewall/fail2ban"
	"github.com/sae-agent/sae-agent/internal/pause"
)

// takenOver is what takeover prints as JSON.
type takenOver struct {
	Steps []string `json:"steps"`
	Done  bool     `json:"done"`
}

func newTakeoverCommand() *cobra.Command {
	path, state := defaultConfig, defaultState
	var undo, yes bool
	cmd := &cobra.Command{
		Use:   "takeover",
		Short: "Stop other DHCP and TFTP servers and have other managers leave the cards alone",
		Long: `Show what stands in the appliance's way on this machine, ask, and remove it:
other DHCP and TFTP servers are stopped and masked, and ifupdown, NetworkManager
and systemd-networkd leave those cards alone that the configuration gives to
sae-agent. FreePBX's own firewall is disabled, when ours is to filter, and Watchtower
is stopped, when there are stacks: it would update their containers. Containers of
Jitsi and Nextcloud that were made by hand are named and left as they are, with their
data. The clients of isc-dhcpd, dnsmasq or Kea keep their addresses. '--undo' ends the
daemon and gives everything back.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !runner.Here() {
				return errors.New("systemd does not manage this machine: stop other servers by hand, 'sae-agent doctor' names them")
			}
			t := takeover.Takeover{
				System: runner.Systemd{}, Cards: takeover.MachineCards{StateDir: filepath.Join(state, "network")}, Fwconsole: takeover.RunFwconsole, Docker: takeover.RunDocker,
				Root: "/", Record: filepath.Join(state, "takeover.json"),
			}
			if undo {
				return undoTakeover(cmd, t, filepath.Join(state, "firewall"), yes)
			}
			facts, err := doctor.Gather(cmd.Context(), factSource(cmd, path, state))
			if err != nil {
				return err
			}
			return takeOver(cmd, t, facts, state, yes)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&undo, "undo", false, "give back what was taken over")
	f.BoolVar(&yes, "yes", false, "do not ask")
	f.StringVar(&path, "config", path, "the configuration file")
	f.StringVar(&state, "state-dir", state, "where to note what was done")
	return cmd
}

func takeOver(cmd *cobra.Command, t takeover.Takeover, facts doctor.Facts, state string, yes bool) error {
	if facts.Config == nil {
		return fmt.Errorf("the configuration says which cards are for sae-agent, but it cannot be read: %w", facts.ConfigErr)
	}
	m, err := t.Survey(cmd.Context(), ourCards(facts.Config), holders(facts), runner.Systemd{}.Units)
	if err != nil {
		return err
	}
	if others, err := firewall.FindOthers(cmd.Context()); err != nil {
		return err
	} else if others.Sangoma && facts.Config.Firewall.Enabled {
		if m.Firewall, err = takeover.SurveyFirewall(cmd.Context(), t.Fwconsole, facts.Config.LAN.Address.Masked()); err != nil {
			return err
		}
	}
	stacks := facts.Config.Stacks
	needed := stacks.Jitsi.Enabled || stacks.Nextcloud.Enabled
	containers, err := takeover.Inspect(cmd.Context(), t.Docker)
	if err != nil && (needed || !errors.Is(err, exec.ErrNotFound)) {
		fmt.Fprintf(cmd.ErrOrStderr(), "Docker cannot be asked for containers that update others or do the work of stacks: %v\n", err)
	}
	if needed {
		m.Updaters = containers.Updaters()
	}
	for _, f := range containers.Formers(facts.Config.LAN.Address.Addr()) {
		fmt.Fprintln(cmd.ErrOrStderr(), f.Left(stackPorts(stacks, f.Stack)))
	}
	if facts.Config.DHCP.Enabled {
		found, err := leasefile.Read(t.Root, time.Now())
		if err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "some leases of the former server cannot be read: %v\n", err)
		}
		m.Leases = slices.DeleteFunc(leasefile.Merge(found), func(l leasefile.Lease) bool { return !facts.Config.LAN.Address.Masked().Contains(l.Addr) })
		if m.LeasesPath, err = filepath.Abs(filepath.Join(state, takeover.LeasesFile)); err != nil {
			return err
		}
	}
	steps := takeover.Plan(m)
	var lines []string
	for _, s := range steps {
		lines = append(lines, s.String())
	}
	return agree(cmd, lines, yes, "Nothing stands in the way.", func() error {
		return errors.Join(t.Do(cmd.Context(), steps), followed(cmd))
	})
}

// stackPorts are the ports that one of our stacks wants; none where it is off.
func stackPorts(c config.Stacks, stack string) []takeover.Ports {
	port := func(number uint16, protocol string) takeover.Ports {
		return takeover.Ports{First: number, Last: number, Protocol: protocol}
	}
	switch {
	case stack == "jitsi" && c.Jitsi.Enabled:
		return []takeover.Ports{
			port(c.Jitsi.HTTPSPort, "tcp"), port(c.Jitsi.MediaPort, "udp"),
			{First: c.Jitsi.GatewayPorts.First, Last: c.Jitsi.GatewayPorts.Last, Protocol: "udp"},
		}
	case stack == "nextcloud" && c.Nextcloud.Enabled:
		return []takeover.Ports{port(c.Nextcloud.HTTPSPort, "tcp")}
	}
	return nil
}

// followTime is how long the agent may take to have what it was given.
const followTime = 30 * time.Second

// followed waits until the agent, if it runs, has the cards and what it failed to do while others had them.
func followed(cmd *cobra.Command) error {
	if err := cardsFollow(cmd); err != nil {
		return err
	}
	p, err := ask(cmd, control.GetPlan, control.None{})
	if err != nil || len(p.Config) > 0 {
		return nil // the file is for the operator to apply
	}
	if p, err = ask(cmd, control.ApplyConfig, control.ApplyOptions{}); err != nil {
		return nil // a change that waits for its confirmation
	}
	return behind(p)
}

func cardsFollow(cmd *cobra.Command) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), followTime)
	defer cancel()
	for {
		st, err := control.Call(ctx, daemon(cmd), control.GetStatus, control.None{})
		if err != nil && ctx.Err() == nil {
			return nil // it does not run
		}
		i := slices.IndexFunc(st.Problems, func(p problem.Problem) bool { return p.ID == problem.CardManaged })
		if err == nil && i < 0 {
			return nil
		}
		if pause.For(ctx, 200*time.Millisecond) {
			continue
		}
		if err != nil {
			return fmt.Errorf("all is done, but sae-agent does not answer: %w", err)
		}
		return fmt.Errorf("all is done, but not followed yet: %s", st.Problems[i].What)
	}
}

// undoTakeover gives everything back. What the agent's rules would refuse, what comes back may need.
func undoTakeover(cmd *cobra.Command, t takeover.Takeover, rules string, yes bool) error {
	steps, err := t.Done()
	if err != nil {
		return err
	}
	var lines []string
	if len(steps) > 0 {
		lines = append(lines, "the daemon, its packet filter and its jails of fail2ban end, also for the next start; they come back by systemctl enable --now sae-agent-boot sae-agent")
	}
	for _, s := range steps {
		lines = append(lines, "undo: "+s.String())
	}
	err = agree(cmd, lines, yes, "Nothing was taken over.", func() error {
		return errors.Join(t.Undo(cmd.Context()), nft.Remove(cmd.Context(), rules), fail2ban.Remove(cmd.Context(), fail2ban.Options{Run: defence.RunFail2ban(runner.Plain{})}))
	})
	if err != nil || !runner.Here() {
		return err
	}
	return runner.Systemd{}.Forget(cmd.Context(), "sae-agent-*")
}

// agree shows what would be done, asks, and does it.
func agree(cmd *cobra.Command, lines []string, yes bool, empty string, do func() error) error {
	if len(lines) == 0 {
		return show(cmd, takenOver{Steps: []string{}}, func(w io.Writer) { fmt.Fprintln(w, empty) })
	}
	if !yes {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s\nDo this? [y/N] ", strings.Join(lines, "\n"))
		answer, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n') // no answer is a no
		if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
			return errors.New("nothing was changed")
		}
	}
	if err := do(); err != nil {
		return err
	}
	return show(cmd, takenOver{lines, true}, func(w io.Writer) { fmt.Fprintf(w, "%s\nDone.\n", strings.Join(lines, "\n")) })
}

// ourCards are the cards that the configuration gives to sae-agent.
func ourCards(c *config.Config) (out []string) {
	if c.WAN.Method == config.WANDHCP || c.WAN.Method == config.WANStatic {
		out = append(out, c.WAN.Interface)
	}
	return append(out, c.LAN.Interface)
}

// holders are the units that hold the ports of DHCP and TFTP.
func holders(f doctor.Facts) (out []string) {
	for _, l := range f.Listeners {
		port := l.Addr.Port()
		if l.Protocol == "udp" && (port == 67 || port == 69) && l.Unit != "" && l.Unit != "sae-agent.service" {
			out = append(out, l.Unit)
		}
	}
	return out
}
