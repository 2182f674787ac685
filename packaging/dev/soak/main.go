// Command soak runs the daemon for as long as told on a LAN that treats it badly, and checks that no lease that it
// has acknowledged is lost, moved or given to somebody else meanwhile.
//
// A fleet of phones and visitors takes, renews and gives back addresses. The daemon is killed with SIGKILL at random
// moments and started again, sometimes with a lease store that was damaged in between. Floods of forged messages come
// and go. After each start whose store was left alone, the daemon's list must have every lease that the fleet holds; at the end each
// client asks for its own once more. One table tells what it came to; the exit status is 1 when a lease was lost,
// moved or given twice, or the daemon ended by itself.
//
// Everything happens in network namespaces that vanish with the program.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

type options struct {
	duration time.Duration
	known    int // configured phones
	unknown  int // phones that are not
	visitors int // strangers with another MAC each time
	build    string
	dir      string
	seed     uint64
}

func main() {
	var o options
	flag.DurationVar(&o.duration, "for", 10*time.Minute, "how long")
	flag.IntVar(&o.known, "known", 160, "configured phones")
	flag.IntVar(&o.unknown, "unknown", 80, "phones that are not configured")
	flag.IntVar(&o.visitors, "visitors", 30, "strangers that come and go")
	flag.StringVar(&o.build, "build", "build", "folder with sae-agent (make build)")
	flag.StringVar(&o.dir, "dir", "build", "folder for the daemon's state, on a disk")
	flag.Uint64Var(&o.seed, "seed", rand.Uint64(), "of the kinds and moments of trouble")
	flag.Parse()
	if err := lab.Enter(); err != nil {
		exit(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(soak(ctx, o, os.Stdout))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func soak(ctx context.Context, o options, out io.Writer) (err error) {
	for _, dir := range []*string{&o.build, &o.dir} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return err
		}
	}
	s, err := newSite(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	start := time.Now()
	trouble, cancel := context.WithTimeout(ctx, o.duration)
	defer cancel()
	err = s.run(ctx, trouble)
	return errors.Join(err, s.report(out, time.Since(start))) // also of a run that is cut short
}

// report prints the table, and returns an error when something is in it that must not be.
func (s *site) report(out io.Writer, took time.Duration) error {
	c := &s.count
	tw := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	row := func(what string, value any) { fmt.Fprintf(tw, "%s\t%v\n", what, value) }
	row("time", took.Round(time.Second))
	row("clients", fmt.Sprintf("%d configured phones, %d others, %d visitors", s.opts.known, s.opts.unknown, c.visitors.Load()))
	row("kill -9", c.kills.Load())
	row("damaged stores survived", fmt.Sprintf("%d of %d", c.survived.Load(), c.damaged.Load()))
	row("floods", fmt.Sprintf("%d, %d frames", c.floods.Load(), c.frames.Load()))
	row("acknowledgements", c.acks.Load())
	row("leases found in the list after a kill", c.audited.Load())
	row("lost", c.lost.Load())
	row("moved", c.moved.Load())
	row("double", c.double.Load())
	row("lost with the store that was damaged", c.lostDamaged.Load())
	row("double for the same reason", c.doubleDamaged.Load())
	row("ended by itself, or did not start", c.ended.Load())
	row("memory, at most", fmt.Sprintf("%d MB", c.memory.Load()/1000))
	row("goroutines, at most", c.goroutines.Load())
	row("file descriptors, at most", c.files.Load())
	row("seed", s.opts.seed)
	if err := tw.Flush(); err != nil {
		return err
	}
	switch {
	case c.lost.Load()+c.moved.Load()+c.double.Load() > 0:
		return errors.New("leases that were acknowledged were not kept")
	case c.ended.Load() > 0:
		return errors.New("the daemon ended by itself, or did not start")
	case c.acks.Load() == 0:
		return errors.New("nothing was acknowledged: nothing was tested")
	}
	return nil
}
