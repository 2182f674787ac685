// Command phonesim simulates Yealink phones on a network card: each gets an
// address by DHCP, reads from option 66 where its files are, fetches them in a
// phone's order, and registers its line. It tells whether a site works before the
// phones arrive.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/sae-agent/sae-agent/cmd/phonesim/sim"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// flags are the command line.
type flags struct {
	sim.Options
	phones    int
	model     string
	prefix    string
	inventory string
	live      bool
	json      bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		fmt.Fprintf(stderr, "phonesim: %v\n", err)
		return exitUsage
	}
	phones, err := f.fleet()
	if err != nil {
		fmt.Fprintf(stderr, "phonesim: %v\n", err)
		return exitUsage
	}
	fleet, err := sim.New(phones, f.Options)
	if err != nil {
		fmt.Fprintf(stderr, "phonesim: %v\n", err)
		return exitFailed
	}
	if err := powerOn(ctx, fleet, f, stdout); err != nil {
		fmt.Fprintf(stderr, "phonesim: %v\n", err)
		return exitFailed
	}
	if fleet.Summary().Failed > 0 {
		return exitFailed
	}
	return exitOK
}

func parse(args []string, stderr io.Writer) (flags, error) {
	var f flags
	set := flag.NewFlagSet("phonesim", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.StringVar(&f.Interface, "interface", "", "network card that the phones are plugged into")
	set.IntVar(&f.phones, "phones", 1, "number of phones")
	set.StringVar(&f.model, "model", "T42U", "model of the phones")
	set.StringVar(&f.prefix, "mac-prefix", "00:15:65", "first three bytes of the phones' MAC addresses")
	set.StringVar(&f.inventory, "inventory", "", "JSON `file` of phones instead: [{\"mac\":\"001565000001\",\"model\":\"T42U\",\"extension\":\"100\"}]")
	set.BoolVar(&f.Storm, "storm", false, "power all phones on at the same instant, as after a power cut")
	set.BoolVar(&f.Register, "register", false, "register each phone's line with the SIP server of its file")
	set.BoolVar(&f.Release, "release", false, "give the addresses back at the end")
	set.BoolVar(&f.Insecure, "insecure", false, "take any certificate over https")
	set.BoolVar(&f.live, "live", false, "show the phones while they boot")
	set.BoolVar(&f.json, "json", false, "print JSON")
	set.DurationVar(&f.Timeout, "timeout", time.Minute, "give up after this long")
	if err := set.Parse(args); err != nil {
		return f, err
	}
	switch {
	case set.NArg() > 0:
		return f, fmt.Errorf("what is %q? see --help", set.Arg(0))
	case f.Interface == "":
		return f, errors.New("which card? add --interface NAME")
	case f.phones < 1 || f.phones > 1<<16:
		return f, errors.New("--phones must be between 1 and 65536")
	}
	return f, nil
}

// fleet lists the phones to simulate.
func (f flags) fleet() ([]sim.Phone, error) {
	if f.inventory != "" {
		return readInventory(f.inventory)
	}
	prefix, err := net.ParseMAC(f.prefix + ":00:00:00")
	if err != nil || len(prefix) != 6 {
		return nil, fmt.Errorf("--mac-prefix: %q is not three bytes such as 00:15:65", f.prefix)
	}
	var out []sim.Phone
	for i := range f.phones {
		m := net.HardwareAddr{prefix[0], prefix[1], prefix[2], 0xfe, byte((i + 1) >> 8), byte(i + 1)}
		out = append(out, sim.Phone{MAC: m, Model: f.model})
	}
	return out, nil
}

func readInventory(path string) ([]sim.Phone, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var list []struct{ MAC, Model, Extension string }
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var out []sim.Phone
	for i, p := range list {
		text := strings.NewReplacer(":", "", "-", "", ".", "").Replace(p.MAC)
		if len(text) != 12 {
			return nil, fmt.Errorf("%s: phone %d: %q is no MAC address", path, i+1, p.MAC)
		}
		m, err := net.ParseMAC(text[:4] + "." + text[4:8] + "." + text[8:])
		if err != nil {
			return nil, fmt.Errorf("%s: phone %d: %q is no MAC address", path, i+1, p.MAC)
		}
		out = append(out, sim.Phone{MAC: m, Model: p.Model, Extension: p.Extension})
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s lists no phone", path)
	}
	return out, nil
}

// powerOn runs the fleet and shows it.
func powerOn(ctx context.Context, fleet *sim.Fleet, f flags, stdout io.Writer) error {
	done := make(chan error, 1)
	go func() { done <- fleet.Run(ctx) }()
	var err error
	if file, ok := stdout.(*os.File); f.live && !f.json && ok && term.IsTerminal(int(file.Fd())) {
		err = watch(fleet, stdout, done)
	} else {
		err = <-done
	}
	if f.json {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		return errors.Join(err, enc.Encode(struct {
			Phones []sim.Result `json:"phones"`
			sim.Summary
		}{fleet.Results(), fleet.Summary()}))
	}
	printTable(stdout, fleet.Results())
	printSummary(stdout, fleet.Summary())
	return err
}
