// Command attack shows what attacks on the exchange come to, and what the shaping
// of the upload is worth to a call: it runs the tests that attack and that saturate
// an uplink, and prints the figures that they have measured. The tests themselves
// make no statements about time.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
)

// mark begins a figure in what a test logs: "figure: WHAT | VALUE".
const mark = "figure: "

// measured are the tests that log figures.
var measured = []struct{ pkg, test string }{
	{"./cmd/sae-agent", "TestSiege"}, {"./netcfg/qos", "TestCallUnderSaturatedUplink"},
}

// figure is something that was measured.
type figure struct{ what, value string }

func main() {
	goCommand := flag.String("go", "packaging/dev/setup/go", "the go command")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *goCommand, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, goCommand string, out io.Writer) error {
	tw := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for _, m := range measured {
		var log bytes.Buffer
		cmd := exec.CommandContext(ctx, goCommand, "test", "-count=1", "-v", "-run", "^"+m.test+"$", m.pkg)
		cmd.Stdout, cmd.Stderr = &log, &log
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s of %s: %w\n%s", m.test, m.pkg, err, log.String())
		}
		figures := figuresIn(log.String())
		if len(figures) == 0 {
			return fmt.Errorf("%s of %s has measured nothing:\n%s", m.test, m.pkg, log.String())
		}
		for _, f := range figures {
			fmt.Fprintf(tw, "%s\t%s\n", f.what, f.value)
		}
	}
	return tw.Flush()
}

// figuresIn finds the figures in the output of `go test -v`.
func figuresIn(log string) (out []figure) {
	for line := range strings.Lines(log) {
		_, rest, ok := strings.Cut(line, mark)
		if !ok {
			continue
		}
		if what, value, ok := strings.Cut(strings.TrimSpace(rest), " | "); ok {
			out = append(out, figure{what, value})
		}
	}
	return out
}
