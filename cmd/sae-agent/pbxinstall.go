package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/doctor"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/pbx/freepbx"
	"github.com/sae-agent/sae-agent/agent/pbx/install"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/agent/takeover"
)

// installation is one run of 'pbx install'.
type installation struct {
	cmd       *cobra.Command
	inst      install.Installer
	facts     doctor.Facts
	state     string
	script    string // file; empty: fetched
	adminFrom []string
	wait      time.Duration // for the daemon to connect
	freepbx   *freepbx.Machine
}

// installed is what pbx install prints as JSON.
type installed struct {
	Driver      string `json:"driver"`
	Connected   bool   `json:"connected"`
	FirstRunURL string `json:"first_run_url,omitempty"` // where FreePBX's administrator is to be made
}

func newPBXInstallCommand() *cobra.Command {
	path := defaultConfig
	i := &installation{state: defaultState}
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install FreePBX, or Asterisk alone",
		Long: `Install FreePBX 17 with Asterisk by Sangoma's installer for Debian 12, or, with
pbx.driver: asterisk, Asterisk alone. The script is one that somebody has
approved: pbx.installer_sha256 names it, or it is shown and you are asked. The
installation takes about half an hour and goes on when this command or its
terminal ends; run again, the command shows it again, and goes on with what is
left. Phones are served all the while.

FreePBX makes the first visitor of its pages its administrator. Until there is
one, only this machine and --admin-from can visit them.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := i.setUp(cmd); err != nil {
				return err
			}
			if i.facts, err = doctor.Gather(cmd.Context(), factSource(cmd, path, i.state)); err != nil {
				return err
			}
			return i.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&i.script, "script", "", "the installer's script; default: fetched from "+install.ScriptURL)
	f.StringSliceVar(&i.adminFrom, "admin-from", nil, "addresses or networks that may visit FreePBX before it has an administrator")
	f.DurationVar(&i.wait, "wait", 3*time.Minute, "how long sae-agent may take to connect with the new exchange")
	f.StringVar(&path, "config", path, "the configuration file")
	f.StringVar(&i.state, "state-dir", i.state, "where script and log are kept")
	return cmd
}

func (i *installation) setUp(cmd *cobra.Command) error {
	i.cmd = cmd
	from, err := parseSources(i.adminFrom)
	if err != nil {
		return &usageError{err}
	}
	if !runner.Here() {
		return errors.New("systemd does not manage this machine, and the installer needs it")
	}
	if os.Geteuid() != 0 {
		return errors.New("only root can install an exchange: use sudo")
	}
	i.inst = install.Installer{
		System: runner.Systemd{}, Root: "/", Dir: filepath.Join(i.state, "pbx"), AdminFrom: from, Progress: i.say,
	}
	i.freepbx = freepbx.NewMachine(runner.Systemd{}, filepath.Join(i.state, "freepbx"))
	i.freepbx.Name = "sae-agent-install"
	return nil
}

// parseSources reads addresses and networks.
func parseSources(list []string) (out []netip.Prefix, err error) {
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if addr, addrErr := netip.ParseAddr(text); addrErr == nil {
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil || p.Bits() == 0 {
			return nil, fmt.Errorf("--admin-from %q is not an address or network, such as 192.168.1.50 or 192.168.1.0/28", text)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// say tells the progress; the result goes to the standard output.
func (i *installation) say(line string) { fmt.Fprintln(i.cmd.ErrOrStderr(), line) }

func (i *installation) run(ctx context.Context) error {
	cfg := i.facts.Config
	switch {
	case cfg == nil:
		return fmt.Errorf("the configuration says which exchange to install, but it cannot be read: %w", i.facts.ConfigErr)
	case cfg.PBX.Driver == config.DriverNone:
		return errors.New("pbx.driver is none: write freepbx or asterisk there first")
	}
	i.inst.FreePBX = cfg.PBX.Driver == config.DriverFreePBX
	if err := i.install(ctx, cfg); err != nil {
		return err
	}
	if err := i.inst.Verify(ctx); err != nil {
		return fmt.Errorf("the installer ended without an error, and yet %w: see %s and /var/log/pbx, then run this command again", err, filepath.Join(i.inst.Dir, "install.log"))
	}
	i.say("What was to be installed is there.")
	t := takeover.Takeover{System: runner.Systemd{}, Root: "/", Record: filepath.Join(i.state, "takeover.json")}
	if err := i.inst.GivePortBack(ctx, t); err != nil {
		return fmt.Errorf("give the port of TFTP back to sae-agent: %w", err)
	}
	return i.finish(ctx, cfg)
}

// install installs, unless that is done, and follows an installation that is under way.
func (i *installation) install(ctx context.Context, cfg *config.Config) error {
	running, err := i.inst.Running(ctx)
	if err != nil {
		return err
	}
	if !running {
		if i.inst.Verify(ctx) == nil {
			return i.guardFirstRun(ctx)
		}
		script, err := i.approve(ctx, cfg.PBX.InstallerSHA256)
		if err != nil {
			return err
		}
		if err := i.judge(ctx); err != nil {
			return err
		}
		if err := i.ready(install.Reach(ctx, new(net.Dialer).DialContext, i.inst.Hosts(script))); err != nil {
			return err
		}
		if err := i.inst.Begin(ctx, script); err != nil {
			return err
		}
		i.say("The installation has begun. It goes on when this command ends; 'sae-agent pbx install' shows it again.")
	}
	return i.inst.Follow(ctx)
}

// guardFirstRun closes a FreePBX that has no administrator yet to strangers.
func (i *installation) guardFirstRun(ctx context.Context) error {
	if !i.inst.FreePBX {
		return nil
	}
	n, err := i.freepbx.Admins(ctx)
	if err != nil || n > 0 {
		return err
	}
	return i.inst.CloseFirstRun(ctx)
}

// judge looks whether the machine can take an exchange.
func (i *installation) judge(ctx context.Context) error {
	m, err := i.inst.Survey(ctx)
	if err != nil {
		return err
	}
	m.Busy = make(map[uint16]string)
	for _, l := range i.facts.Listeners {
		if l.Protocol == "tcp" {
			m.Busy[l.Addr.Port()] = dash(l.Program)
		}
	}
	return i.ready(install.Judge(m, i.inst.FreePBX))
}

// ready says what is wrong, and whether the installer may run all the same.
func (i *installation) ready(problems []problem.Problem) error {
	for _, p := range problems {
		i.say(fmt.Sprintf("%s: %s\n  fix: %s", p.Severity, p.What, p.Fix))
	}
	if slices.ContainsFunc(problems, func(p problem.Problem) bool { return p.Severity == problem.Error }) {
		return errors.New("nothing was installed: the machine is not ready for it")
	}
	return nil
}

// approve gets the script, and somebody's word that it may run.
func (i *installation) approve(ctx context.Context, pinned string) ([]byte, error) {
	script, err := i.getScript(ctx)
	if err != nil {
		return nil, err
	}
	if pinned != "" {
		return script, install.Approved(script, pinned)
	}
	copied, err := i.showScript(script)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(i.cmd.ErrOrStderr(), "Sangoma's installer is in %s (%d lines). As root it changes this machine.\nIts SHA-256 is %s; with this as pbx.installer_sha256 you are not asked.\nRun it? [y/N] ",
		copied, strings.Count(string(script), "\n"), install.Sum(script))
	answer, _ := bufio.NewReader(i.cmd.InOrStdin()).ReadString('\n') // no answer is a no
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return nil, errors.New("nothing was installed")
	}
	return script, nil
}

func (i *installation) getScript(ctx context.Context) ([]byte, error) {
	if i.script == "" {
		return install.Fetch(ctx, http.DefaultClient, install.ScriptURL)
	}
	f, err := os.Open(i.script)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return install.Read(f)
}

// showScript puts the script where it can be read before it is approved.
func (i *installation) showScript(script []byte) (path string, err error) {
	if err := os.MkdirAll(i.inst.Dir, 0o700); err != nil {
		return "", err
	}
	path = filepath.Join(i.inst.Dir, "to-approve.sh")
	return path, os.WriteFile(path, script, 0o600)
}

// finish waits until the daemon is connected, and says what is left to do.
func (i *installation) finish(ctx context.Context, cfg *config.Config) error {
	out := installed{Driver: string(cfg.PBX.Driver), Connected: i.connected(ctx)}
	if i.inst.FreePBX {
		n, err := i.freepbx.Admins(ctx)
		if err != nil {
			return err
		}
		if n == 0 {
			out.FirstRunURL = "http://" + cfg.LAN.Address.Addr().String() + "/admin"
		}
	}
	err := show(i.cmd, out, func(w io.Writer) { printInstalled(w, out) })
	if err == nil && !out.Connected {
		err = errors.New("it is installed, but sae-agent is not connected with it: 'sae-agent pbx status' says why")
	}
	return err
}

func printInstalled(w io.Writer, out installed) {
	if out.Connected {
		fmt.Fprintln(w, "The exchange is installed, and sae-agent is connected with it.")
	}
	if out.FirstRunURL != "" {
		fmt.Fprintf(w, "Now make FreePBX's administrator at %s, from this machine or an address given with --admin-from.\nThen its pages are open to the LAN.\n", out.FirstRunURL)
	}
}

// connected waits until the daemon finds the exchange well.
func (i *installation) connected(ctx context.Context) bool {
	i.say("Waiting for sae-agent to connect.")
	ctx, cancel := context.WithTimeout(ctx, i.wait)
	defer cancel()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		st, err := control.Call(ctx, daemon(i.cmd), control.GetPBX, control.None{})
		if err == nil && st.State == string(pbx.Well) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}
