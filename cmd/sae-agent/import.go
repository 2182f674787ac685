package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/agent"
	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/durable"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/setup"
	"github.com/sae-agent/sae-agent/agent/setup/leasefile"
)

func newImportCommand() *cobra.Command {
	o := importOptions{path: defaultConfig}
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Take a machine's DHCP server and phone files over into the configuration",
		Long: `Read the configuration of another DHCP server (isc-dhcp-server, dnsmasq or Kea)
and the phones' files of a TFTP directory, and make a configuration that does
the same. What is not taken over is said, with its line. Nothing that is read is
changed. Where there is a configuration already, what would change in it is
shown, and it is changed after a question (or --yes).`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	cmd.Flags().StringVar(&o.path, "config", o.path, "the file to write, or - to print it")
	cmd.Flags().StringVar(&o.dhcpd, "dhcpd-conf", "/etc/dhcp/dhcpd.conf", "configuration of isc-dhcp-server; empty: none")
	cmd.Flags().StringVar(&o.dnsmasq, "dnsmasq-conf", "/etc/dnsmasq.conf", "configuration of dnsmasq; empty: none")
	cmd.Flags().StringVar(&o.kea, "kea-conf", "/etc/kea/kea-dhcp4.conf", "configuration of Kea; empty: none")
	cmd.Flags().StringVar(&o.tftp, "tftp-root", "", "directory of the phones' files (default: that of tftpd-hpa, or /tftpboot)")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "change a configuration that exists without asking")
	return cmd
}

type importOptions struct {
	path, dhcpd, dnsmasq, kea, tftp string
	yes                             bool
}

func (o importOptions) run(cmd *cobra.Command) error {
	m, err := setup.Inspect(cmd.Context())
	if err != nil {
		return err
	}
	var base *config.Config
	var notes []string
	old, err := os.ReadFile(o.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		base, notes = draft(cmd, m)
	case err != nil:
		return err
	default: // what the file says of the machine stays
		if base, err = config.Parse(o.path, old); err != nil {
			return fmt.Errorf("%s has to be mended first: %w", o.path, err)
		}
	}
	src, err := o.sources(cmd, m, base.LAN.Interface)
	if err != nil {
		return err
	}
	more, err := setup.Import(base, src)
	if err != nil {
		return err
	}
	found, err := leasefile.Read("/", time.Now())
	if err != nil {
		more = append(more, err.Error())
	}
	more = append(more, setup.LeaseNotes(base, found)...)
	if base.DHCP.Enabled {
		more = append(more, "dhcp.enabled is true: run 'sae-agent takeover' before, so that the old server ends.")
	}
	notes = append(notes, more...)
	if old == nil || o.path == "-" {
		return writeConfig(cmd, o.path, base, "# Written by sae-agent import.\n", notes)
	}
	return o.merge(cmd, old, base, notes)
}

// draft is the configuration of a machine that has none, also where its cards do not suffice.
func draft(cmd *cobra.Command, m setup.Machine) (*config.Config, []string) {
	var offline agent.Offline
	offline.State = defaultState
	offline.Runtime, _ = cmd.Flags().GetString("runtime-dir")
	if data, err := offline.Current(); err == nil {
		m.Ran = parsedRun(data)
	}
	base, notes, err := setup.Draft(m)
	if err != nil {
		base, notes = config.Default(), []string{err.Error() + ": name both under wan and lan"}
		base.WAN.Interface, base.LAN.Interface = "ens33", "ens34"
	}
	return base, notes
}

// sources are the files that are there.
func (o importOptions) sources(cmd *cobra.Command, m setup.Machine, lan string) (setup.Sources, error) {
	src := setup.Sources{DHCPD: o.dhcpd, Dnsmasq: o.dnsmasq, Kea: o.kea, TFTP: cmp.Or(o.tftp, setup.TFTPRoot("/"))}
	if cmd.Flags().Changed("tftp-root") {
		src.TFTP = o.tftp
	}
	named := cmd.Flags().Changed("dhcpd-conf") || cmd.Flags().Changed("dnsmasq-conf") || cmd.Flags().Changed("kea-conf")
	for flag, file := range map[string]*string{"dhcpd-conf": &src.DHCPD, "dnsmasq-conf": &src.Dnsmasq, "kea-conf": &src.Kea, "tftp-root": &src.TFTP} {
		_, err := os.Stat(*file)
		if usual := !cmd.Flags().Changed(flag); usual && (errors.Is(err, os.ErrNotExist) || named && flag != "tftp-root") {
			*file = "" // the usual place has none, or another server was named
		}
	}
	if !named && src.Servers() > 1 && runner.Here() {
		units, err := runner.Systemd{}.Units(cmd.Context(), setup.ServerUnits())
		if err != nil {
			return src, err
		}
		src.OnlyRunning(units)
	}
	servers := src.Servers()
	switch {
	case servers > 1:
		return src, &usageError{errors.New("there are configurations of several DHCP servers, and not one of them alone runs: name one of them with --dhcpd-conf, --dnsmasq-conf or --kea-conf")}
	case servers == 0 && src.TFTP == "":
		return src, &usageError{errors.New("there is nothing to import: name it with --dhcpd-conf, --dnsmasq-conf, --kea-conf or --tftp-root")}
	}
	for _, c := range m.Cards {
		if c.Name == lan {
			src.Own = c.Addresses
		}
	}
	src.Lookup = func(name string) []netip.Addr {
		ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
		defer cancel()
		found, _ := net.DefaultResolver.LookupNetIP(ctx, "ip4", name)
		return found
	}
	return src, nil
}

// merge shows what would change in the file that is there, asks, and writes it. The file's earlier content stays beside it.
func (o importOptions) merge(cmd *cobra.Command, old []byte, c *config.Config, notes []string) error {
	head := "# Written by sae-agent import.\n"
	for _, n := range notes {
		head += "# " + strings.ReplaceAll(n, "\n", " ") + "\n"
	}
	data, err := c.MarshalWith(head)
	if err != nil {
		return err
	}
	was, err := config.Parse(o.path, old)
	if err != nil {
		return err
	}
	if next, err := config.Parse(o.path, data); err == nil { // with its defaults, as the other
		c = next
	}
	var lines []string
	for _, change := range config.Diff(was, c) {
		lines = append(lines, change.String())
	}
	if len(lines) > 0 {
		lines = append(lines, notes...)
		if r, err := check(o.path, data); err == nil {
			for _, d := range r.Errors {
				lines = append(lines, "to be mended: "+d.String())
			}
		}
		lines = append(lines, fmt.Sprintf("%s is replaced; what it is now, with its comments, stays as %s.old.", o.path, o.path))
	}
	return agree(cmd, lines, o.yes, o.path+" says all of that already.", func() error {
		if err := durable.WriteFile(o.path+".old", old, configMode); err != nil {
			return err
		}
		return replaceConfig(o.path, data)
	})
}

// replaceConfig writes a configuration over the one that is there. Who may read that may read the new one.
func replaceConfig(path string, data []byte) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	return durable.WriteFileAs(path, data, os.FileMode(st.Mode&0o777), int(st.Uid), int(st.Gid))
}
