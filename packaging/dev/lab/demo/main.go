// Command demo shows phones booting from one file on the machine at hand: it lays out a lab of network namespaces
// with a provider, the appliance and a LAN, runs the real sae-agent and a real Asterisk in it, and powers on simulated
// phones, which register and call each other. Nothing of it touches the machine's own network, and all of it vanishes with the program.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

// options are the command line.
type options struct {
	phones   int
	once     bool
	programs string // directory of sae-agent and phonesim
	asterisk string // root directory of Asterisk
}

func main() {
	var o options
	flag.IntVar(&o.phones, "phones", 5, "number of phones to power on")
	flag.BoolVar(&o.once, "once", false, "end after the phones have called: status 0 if each of them is registered and was heard")
	flag.StringVar(&o.programs, "programs", besideMe(), "directory of the programs sae-agent and phonesim")
	flag.StringVar(&o.asterisk, "asterisk", filepath.Join(besideMe(), "_asterisk"), "root directory of Asterisk, of packaging/dev/asterisk/image")
	flag.Parse()
	if err := lab.Enter(listen("127.0.0.1:9303"), listen("127.0.0.1:9443")); err != nil {
		fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, o); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "demo:", err)
	os.Exit(1)
}

func besideMe() string {
	exe, err := lab.Self()
	if err != nil {
		return "build"
	}
	return filepath.Dir(exe)
}

// listen opens a socket on the machine's loopback, where a browser can ask for metrics or for the console.
func listen(address string) func() (*os.File, error) {
	return func() (*os.File, error) {
		l, err := net.Listen("tcp4", address)
		if errors.Is(err, syscall.EADDRINUSE) {
			l, err = net.Listen("tcp4", "127.0.0.1:0")
		}
		if err != nil {
			return nil, err
		}
		return l.(*net.TCPListener).File()
	}
}

// run shows the demo; it returns nil when ctx ends it, or when every phone is registered and was heard by another.
func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "sae-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := newSite(o.phones, filepath.Join(dir, "tftpboot"))
	if err != nil {
		return err
	}
	if err := s.write(dir); err != nil {
		return err
	}
	// Not ctx: closing the lab stops the programs in good order.
	l, err := lab.New(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()

	n, err := newNetwork(l)
	if err != nil {
		return err
	}
	if err := n.startProvider(ctx); err != nil {
		return err
	}
	fmt.Printf("Starting Asterisk and sae-agent, phones: %d ...\n", len(s.Phones))
	exchange, err := startExchange(ctx, n.appliance, o.asterisk, filepath.Join(dir, "asterisk"))
	if err != nil {
		return unlessCancelled(ctx, err)
	}
	a, err := startAppliance(n.appliance, filepath.Join(o.programs, "sae-agent"), filepath.Join(dir, "config.yaml"), dir, exchange)
	if err != nil {
		return err
	}
	if err := a.waitReady(ctx, s.metrics()); err != nil {
		return unlessCancelled(ctx, err)
	}
	if !o.once {
		closeConsole, err := a.openConsole(ctx, filepath.Join(o.programs, "sae-agent"))
		if err != nil {
			return unlessCancelled(ctx, err)
		}
		defer closeConsole()
	}
	booted := boot(ctx, n.phones, filepath.Join(o.programs, "phonesim"), filepath.Join(dir, "inventory.json"))
	if ctx.Err() != nil {
		return nil
	}
	if o.once {
		return booted
	}
	if booted == nil {
		// Not a report, only company: status and metrics show phones that are registered.
		_, booted = n.phones.Start(filepath.Join(o.programs, "phonesim"),
			"--interface", "eth0", "--inventory", filepath.Join(dir, "inventory.json"), "--register", "--stay")
	}
	return stayUp(ctx, a, s, o, booted)
}

// write puts the files of the site into dir.
func (s site) write(dir string) error {
	config, err := s.config()
	if err != nil {
		return err
	}
	inventory, err := s.inventory()
	if err != nil {
		return err
	}
	return errors.Join(
		os.Mkdir(s.Root, 0o755),
		os.WriteFile(filepath.Join(dir, "config.yaml"), config, 0o600),
		os.WriteFile(filepath.Join(dir, "inventory.json"), inventory, 0o600),
	)
}

// boot powers on the phones and shows how they come up.
func boot(ctx context.Context, phones *lab.Host, program, inventory string) error {
	cmd := phones.Command(ctx, program, "--interface", "eth0", "--inventory", inventory, "--live", "--register", "--call")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("not every phone is registered and was heard (phonesim: %w)", err)
	}
	return err
}

// stayUp leaves the appliance running for the user to look at, until ctx ends.
func stayUp(ctx context.Context, a *appliance, s site, o options, booted error) error {
	if booted != nil {
		fmt.Printf("\n%v\n%s\n", booted, a.logTail())
	}
	l, err := net.FileListener(lab.Inherited(0))
	if err != nil {
		return fmt.Errorf("take over the listener: %w", err)
	}
	defer l.Close()
	go a.forward(ctx, l, s.metrics())
	fmt.Printf(`
Metrics         http://%[1]s/metrics
Operator        %[2]s --runtime-dir %[3]s status   (or phones, extensions, leases ...), as root
A phone's story %[2]s --runtime-dir %[3]s logs --phone %[5]s
Configuration   %[4]s
Ctrl-C ends the demo and removes all of it.
`, l.Addr(), filepath.Join(o.programs, "sae-agent"), a.runtime, filepath.Join(filepath.Dir(a.runtime), "config.yaml"), s.Phones[0].MAC)
	select {
	case <-ctx.Done():
		return booted
	case <-a.process.Done():
		return fmt.Errorf("sae-agent ended: %v\n%s", a.process.Wait(), a.logTail())
	}
}

func unlessCancelled(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
