// Command phonesim simulates Yealink phones on a network card: each gets an
// address by DHCP, reads from option 66 where its files are, fetches them in a
// phone's order, registers its line, and calls another one. It tells whether a site works before the
// phones arrive.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/sae-agent/sae-agent/cmd/phonesim/sim"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the command with these arguments; it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	var phones []sim.Phone
	if err == nil {
		phones, err = f.fleet()
	}
	if err != nil {
		fmt.Fprintf(stderr, "phonesim: %v\n", err)
		return exitUsage
	}
	fleet, err := sim.New(phones, f.Options)
	if err == nil {
		err = powerOn(ctx, fleet, f, stdout)
	}
	if err != nil {
		fmt.Fprintf(stderr, "phonesim: %v\n", err)
		return exitFailed
	}
	if fleet.Summary().Failed > 0 || slices.ContainsFunc(fleet.Calls(), func(c sim.Call) bool { return !c.OK() }) {
		return exitFailed
	}
	return exitOK
}

// powerOn runs the fleet and shows how it fared, before its end if phones stay on.
func powerOn(ctx context.Context, fleet *sim.Fleet, f flags, stdout io.Writer) error {
	ended := make(chan error, 1)
	go func() { ended <- fleet.Run(ctx) }()
	if f.live {
		watch(fleet, stdout)
	} else {
		<-fleet.Rested()
	}
	if f.Stay {
		return errors.Join(printReport(fleet, f, stdout), <-ended)
	}
	return errors.Join(<-ended, printReport(fleet, f, stdout))
}

// printReport prints how the fleet fared.
func printReport(fleet *sim.Fleet, f flags, stdout io.Writer) error {
	if !f.json {
		return errors.Join(printTable(stdout, fleet.Results(), maxRows), printCalls(stdout, fleet.Calls(), maxRows), printSummary(stdout, fleet.Summary()))
	}
	enc := json.NewEncoder(stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		Phones []sim.Result `json:"phones"`
		Calls  []sim.Call   `json:"calls,omitempty"`
		sim.Summary
	}{fleet.Results(), fleet.Calls(), fleet.Summary()})
}
