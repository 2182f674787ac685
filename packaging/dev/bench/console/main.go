// Command console measures the console with a thousand phones: how long a browser takes until it paints each page, and
// how much memory the daemon holds while twenty people follow what happens.
//
// The daemon, a real Asterisk, a thousand simulated phones that register, and
// Debian's Chromium are all on this machine, in network namespaces that vanish with the program.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/asterisk"
)

const (
	// childFlag makes this program the people who look: it then runs on their host.
	childFlag = "-child"
	phones    = 1000
	viewers   = 20
	paintGoal = 100 * time.Millisecond
	// memoryGoal is in kB, as VmRSS is.
	memoryGoal = 60 << 10
	address    = "10.55.0.1"
	startTime  = 3 * time.Minute
	// patience bounds the whole run.
	patience = 15 * time.Minute
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == childFlag {
		exit(runChild(os.Args[2]))
	}
	build := flag.String("build", "build", "folder with sae-agent, phonesim and Asterisk (make build asterisk-image)")
	loads := flag.Int("n", 9, "loads of each page; the table shows medians")
	follow := flag.Duration("follow", 30*time.Second, "how long the viewers follow")
	flag.Parse()
	if err := lab.Enter(); err != nil {
		exit(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	exit(measure(ctx, *build, *loads, *follow))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "console:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// site is an appliance, and a host for its phones and its people.
type site struct {
	lab            *lab.Lab
	server, people *lab.Host
	self           string
	build, dir     string
	daemon         *lab.Process
}

func measure(ctx context.Context, build string, loads int, follow time.Duration) (err error) {
	s := &site{}
	if s.self, err = lab.Self(); err != nil {
		return err
	}
	if s.build, err = filepath.Abs(build); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "console-"); err != nil {
		return err
	}
	if s.lab, err = lab.New(ctx); err != nil {
		return errors.Join(err, os.RemoveAll(s.dir))
	}
	defer func() { err = errors.Join(err, s.lab.Close(), os.RemoveAll(s.dir)) }()
	if err := s.start(ctx); err != nil {
		return err
	}
	alone, err := s.residentKB()
	if err != nil {
		return err
	}
	var link struct {
		URL string `json:"url"`
	}
	out, err := s.command(ctx, "console", "invite", "bench", "--role", "admin", "--json").Output()
	if err == nil {
		err = json.Unmarshal(out, &link)
	}
	if err != nil {
		return fmt.Errorf("invite: %w", err)
	}
	r, err := s.browse(ctx, task{Invitation: link.URL, Daemon: s.daemon.Pid(), Dir: filepath.Join(s.dir, "chromium"), Loads: loads, Follow: follow})
	if err != nil {
		return err
	}
	return report(r, alone)
}

// start has a thousand phones register at an appliance.
func (s *site) start(ctx context.Context) (err error) {
	var uplink *lab.Host
	for name, h := range map[string]**lab.Host{"server": &s.server, "people": &s.people, "uplink": &uplink} {
		if *h, err = s.lab.Host(name); err != nil {
			return err
		}
	}
	if err := errors.Join(s.lab.Connect(s.server, "lan0", s.people, "eth0"), s.lab.Connect(s.server, "wan0", uplink, "eth0"),
		s.people.Addr("eth0", "10.55.250.1/16")); err != nil {
		return err
	}
	if err := os.Chmod(s.dir, 0o755); err != nil { // Asterisk gives up root
		return err
	}
	exchange, err := asterisk.Install(ctx, s.server, filepath.Join(s.build, "_asterisk"), filepath.Join(s.dir, "asterisk"))
	if err != nil {
		return err
	}
	if err := exchange.Start(ctx); err != nil {
		return err
	}
	file := filepath.Join(s.dir, "config.yaml")
	if err := os.WriteFile(file, []byte(config()), 0o600); err != nil {
		return err
	}
	cmd := s.command(ctx, "run", "--config", file, "--state-dir", filepath.Join(s.dir, "state"))
	cmd.Env = append(cmd.Environ(), "PATH="+filepath.Dir(exchange.Program())+":"+os.Getenv("PATH"))
	if s.daemon, err = s.server.StartCommand(cmd); err != nil {
		return err
	}
	if err := s.until(ctx, "the exchange has all extensions", func(st state) bool { return st.PBX.Extensions == phones }); err != nil {
		return err
	}
	inventory := filepath.Join(s.dir, "inventory.json")
	if err := os.WriteFile(inventory, fleet(), 0o600); err != nil {
		return err
	}
	if _, err := s.people.Start(filepath.Join(s.build, "phonesim"), "--interface", "eth0", "--inventory", inventory, "--register", "--stay", "--timeout", "5m"); err != nil {
		return err
	}
	return s.until(ctx, "nearly all phones are registered", func(st state) bool { return st.PBX.Registered >= phones*8/10 })
}

// config is a site with a thousand phones, each with an extension.
func config() string {
	var b strings.Builder
	fmt.Fprintf(&b, `site: {name: bench}
wan: {interface: wan0, method: none}
lan: {interface: lan0, address: %s/16}
dhcp: {range: 10.55.1.0-10.55.249.255, force: true}
pbx: {driver: asterisk}
backup: {window: off}
firewall: {enabled: false}
extensions:
`, address)
	for i := range phones {
		fmt.Fprintf(&b, "  - {number: \"%d\", name: Phone %d}\n", 1000+i, 1000+i)
	}
	b.WriteString("phones:\n")
	for i := range phones {
		fmt.Fprintf(&b, "  - {mac: %q, model: T42U, extension: \"%d\"}\n", mac(i), 1000+i)
	}
	return b.String()
}

func mac(i int) string { return fmt.Sprintf("00:15:65:00:%02x:%02x", (i+1)>>8, (i+1)&0xff) }

// fleet is phonesim's inventory of these phones.
func fleet() []byte {
	type phone struct {
		MAC       string `json:"mac"`
		Model     string `json:"model"`
		Extension string `json:"extension"`
	}
	var all []phone
	for i := range phones {
		all = append(all, phone{strings.ReplaceAll(mac(i), ":", ""), "T42U", fmt.Sprint(1000 + i)})
	}
	data, _ := json.Marshal(all) // texts always can be
	return data
}

// state is what is awaited of 'sae-agent status'.
type state struct {
	PBX struct {
		Extensions int `json:"extensions"`
		Registered int `json:"registered"`
	} `json:"pbx"`
}

func (s *site) until(ctx context.Context, what string, is func(state) bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		out, _ := s.command(ctx, "status", "--json").Output() // its exit status tells of problems
		var st state
		if json.Unmarshal(out, &st) == nil && is(st) {
			return nil
		}
		select {
		case <-s.daemon.Done():
			return fmt.Errorf("sae-agent ended: %s", s.daemon.Output())
		case <-ctx.Done():
			return fmt.Errorf("%s: %w; status: %s", what, ctx.Err(), out)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// command is an operator's command at the appliance.
func (s *site) command(ctx context.Context, args ...string) *exec.Cmd {
	return s.server.Command(ctx, filepath.Join(s.build, "sae-agent"), append([]string{"--runtime-dir", filepath.Join(s.dir, "run")}, args...)...)
}

func (s *site) residentKB() (int, error) { return residentKB(s.daemon.Pid()) }

// browse runs this program as the people.
func (s *site) browse(ctx context.Context, t task) (r result, err error) {
	arg, err := json.Marshal(t)
	if err != nil {
		return r, err
	}
	cmd := s.people.Command(ctx, s.self, childFlag, string(arg))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("the people: %w", err)
	}
	return r, json.Unmarshal(out, &r)
}

// report prints the figures beside their goals.
func report(r result, aloneKB int) error {
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', tabwriter.AlignRight|tabwriter.Debug)
	fmt.Fprintln(tw, "page, with 1,000 phones\tfirst paint, median\tworst\tof it the answer, median\tkB\tgoal\t")
	for i, p := range r.Pages {
		if i == 0 {
			p.Path = "one line of text, of another server"
		}
		fmt.Fprintf(tw, "%s\t%.0f ms\t%.0f ms\t%.0f ms\t%d\t%s\t\n", p.Path, ms(p.Paint), ms(p.Worst), ms(p.Answer), p.Bytes/1000, judge(p.Paint < paintGoal, "under 100 ms"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Printf("resident memory of the daemon: %d MB before anybody looks, %d MB after the loads above, at most %d MB while %d viewers follow (%d pages fetched): %s\n",
		aloneKB>>10, r.AfterKB>>10, r.PeakKB>>10, viewers, r.Followed, judge(r.PeakKB < memoryGoal, "under 60 MB"))
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func judge(met bool, goal string) string {
	if met {
		return goal + ": met"
	}
	return goal + ": MISSED"
}
