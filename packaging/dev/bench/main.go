// Command bench measures sae-agent beside the DHCP and TFTP servers that Debian
// packages, in the same run on the same machine, and prints one table: phones that
// are powered on all at once, DHCP exchanges per second, files per second, memory
// and start-up time.
//
// Everything happens in network namespaces that vanish with the program. Server and
// generator share the machine's processors, so the figures compare servers; they do
// not tell what a server could do on a machine of its own.
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

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

// childFlag makes this program one of its own generators.
const childFlag = "-child"

type options struct {
	rounds   int
	short    bool
	build    string
	dir      string
	only     string
	markdown string
	profile  string
	loads    string
	fleet    int
	inFile   int
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == childFlag {
		exit(runChild(os.Args[2], os.Args[3]))
	}
	var o options
	flag.IntVar(&o.rounds, "n", 5, "rounds; the table shows medians and spread")
	flag.BoolVar(&o.short, "short", false, "runs of one second, for a first look")
	flag.StringVar(&o.build, "build", "build", "folder with sae-agent and phonesim (make build)")
	flag.StringVar(&o.dir, "dir", "build", "folder for leases and other state, on the disk to be measured")
	flag.StringVar(&o.only, "only", "", "measure only servers whose name contains this, separated by commas")
	flag.StringVar(&o.markdown, "markdown", "", "write the report as Markdown to this file, too")
	flag.StringVar(&o.profile, "profile", "", "instead write CPU and allocation profiles of each load of sae-agent into this folder (make profile)")
	flag.StringVar(&o.loads, "loads", "", "profile only loads whose name contains this, separated by commas")
	flag.IntVar(&o.fleet, "storm", 0, "instead power on so many phones at once, and print how they fare and what it takes of the processors")
	flag.IntVar(&o.inFile, "phones", 0, "instead start sae-agent with so many phones in its file, and print what they take")
	flag.Parse()
	if err := lab.Enter(); err != nil {
		exit(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(bench(ctx, o))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func bench(ctx context.Context, o options) error {
	self, err := lab.Self()
	if err != nil {
		return err
	}
	for _, dir := range []*string{&o.build, &o.dir} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	b := &runner{options: o, self: self, contenders: chosen(o.only), results: results{}}
	if o.profile != "" {
		return b.profiles(ctx)
	}
	if len(b.contenders) == 0 {
		return fmt.Errorf("no server has %q in its name", o.only)
	}
	if o.fleet > 0 {
		return b.storms(ctx)
	}
	if o.inFile > 0 {
		return b.phonesOfFile(ctx)
	}
	machine := describe(o.dir)
	machine.versions = versionsOf(b.contenders, o.build)
	fmt.Println(machine.text())
	if err := b.all(ctx); err != nil {
		return err
	}
	r := report{machine: machine, contenders: b.contenders, results: b.results, notes: b.notes, command: strings.Join(append([]string{"go run ./packaging/dev/bench"}, os.Args[1:]...), " ")}
	fmt.Print("\n", r.text())
	if o.markdown == "" {
		return nil
	}
	return os.WriteFile(o.markdown, []byte(r.markdown()), 0o644)
}

func chosen(only string) []contender {
	var out []contender
	for _, c := range contenders {
		if matches(c.name, only) {
			out = append(out, c)
		}
	}
	return out
}

// matches reports whether name contains one of the words that commas separate.
func matches(name, words string) bool {
	for word := range strings.SplitSeq(words, ",") {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

func runChild(name, config string) error {
	run := children[name]
	if run == nil {
		return fmt.Errorf("no generator %q", name)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	result, err := run(ctx, []byte(config))
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// stderrOf returns what a failed program said, ready to be appended to its error.
func stderrOf(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return ": " + strings.TrimSpace(string(exit.Stderr))
	}
	return ""
}
