package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sae-agent/sae-agent/internal/golden"
	"github.com/sae-agent/sae-agent/packaging/man"
)

// The manual page sae-agent(8) is made from the commands.
func TestManualIsCurrent(t *testing.T) {
	root := newRootCommand()
	p := man.New("sae-agent", "8", root.Short)
	p.Section("SYNOPSIS")
	p.Text("sae-agent COMMAND [FLAGS]")
	p.Section("DESCRIPTION")
	p.Text(root.Long)
	p.Section("COMMANDS")
	addCommands(p, root)
	p.Section("FLAGS OF EVERY COMMAND")
	addFlags(p, root.PersistentFlags())
	p.Section("EXIT STATUS")
	p.Text("0 when all is well, 1 when it failed, 2 when the command line cannot be understood.")
	p.Section("FILES")
	for _, f := range [][2]string{
		{"/etc/sae-agent/config.yaml", "the configuration, see sae-agent-config(5)"},
		{"/var/lib/sae-agent", "leases, approved phones, generated passwords, applied configurations"},
		{"/run/sae-agent/control.sock", "where the commands talk to the daemon; for root and the group sae-agent"},
	} {
		p.Item(f[0], f[1])
	}
	p.Section("SEE ALSO")
	p.Text("sae-agent-config(5), phonesim(1)")

	const path = "../../packaging/man/sae-agent.8"
	golden.Equal(t, path, p.Bytes())
}

func addCommands(p *man.Page, parent *cobra.Command) {
	for _, c := range parent.Commands() {
		if !c.IsAvailableCommand() || c.Name() == "completion" {
			continue
		}
		p.Subsection(strings.TrimPrefix(c.UseLine(), "sae-agent "))
		text := c.Long
		if text == "" {
			text = c.Short + "."
		}
		p.Text(text)
		addFlags(p, c.LocalNonPersistentFlags())
		addCommands(p, c)
	}
}

func addFlags(p *man.Page, flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		term, text := "--"+f.Name, f.Usage
		if f.Value.Type() != "bool" {
			term += " " + strings.ToUpper(f.Value.Type())
			if f.DefValue != "" {
				text += " (default " + f.DefValue + ")"
			}
		}
		p.Item(term, text)
	})
}
