package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/asterisk"
)

const (
	readyTime = time.Minute // for a slow machine; a few seconds are usual
	tailLines = 40
)

// appliance is a running sae-agent.
type appliance struct {
	host    *lab.Host
	process *lab.Process
	runtime string // directory of its control socket
}

// startExchange runs Asterisk as Debian's package sets it up: it knows of nobody yet.
func startExchange(ctx context.Context, host *lab.Host, root, dir string) (*asterisk.Server, error) {
	s, err := asterisk.Install(ctx, host, root, dir)
	if err != nil {
		return nil, err
	}
	return s, s.Start(ctx)
}

// startAppliance runs the daemon with everything it keeps below dir. It finds the exchange's program in its PATH.
func startAppliance(host *lab.Host, program, config, dir string, exchange *asterisk.Server) (*appliance, error) {
	a := &appliance{host: host, runtime: filepath.Join(dir, "run")}
	cmd := host.Command(context.Background(), program, "run", "--config", config,
		"--state-dir", filepath.Join(dir, "state"), "--runtime-dir", a.runtime)
	cmd.Env = append(cmd.Environ(), "PATH="+filepath.Dir(exchange.Program())+":"+os.Getenv("PATH"))
	p, err := host.StartCommand(cmd)
	a.process = p
	return a, err
}

// waitReady waits until the daemon says that all is well.
func (a *appliance) waitReady(ctx context.Context, addr netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DialContext: a.dial, DisableKeepAlives: true}}
	for {
		err := healthy(ctx, client, addr)
		if err == nil {
			return nil
		}
		select {
		case <-a.process.Done():
			return fmt.Errorf("sae-agent ended: %v\n%s", a.process.Wait(), a.logTail())
		case <-ctx.Done():
			return fmt.Errorf("sae-agent is not ready: %w\n%s", err, a.logTail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func healthy(ctx context.Context, client *http.Client, addr netip.AddrPort) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/healthz", addr), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(body)))
	}
	return nil
}

// openConsole leads the machine's loopback to the console, and prints an invitation by which a browser gets in.
func (a *appliance) openConsole(ctx context.Context, program string) (closeIt func(), err error) {
	link, err := a.invite(ctx, program)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(cmp.Or(link.Port(), "443"), 10, 16)
	if err != nil {
		return nil, err
	}
	l, err := net.FileListener(lab.Inherited(1))
	if err != nil {
		return nil, fmt.Errorf("take over the listener: %w", err)
	}
	// Browsers are answered by the name that they ask for: the console must see its own loopback.
	go a.forward(ctx, l, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)))
	link.Host = l.Addr().String()
	fmt.Printf("Console https://%s, first login by this link (the browser warns of a certificate that it does not know):\n  %s\n", link.Host, link)
	return func() { _ = l.Close() }, nil
}

// invite makes an invitation for the console, which may begin to serve a little later than the rest.
func (a *appliance) invite(ctx context.Context, program string) (*url.URL, error) {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	for {
		out, err := a.host.Command(ctx, program, "--runtime-dir", a.runtime, "--json", "console", "invite", "demo", "--role", "admin").CombinedOutput()
		var answer struct {
			URL string `json:"url"`
		}
		if err == nil {
			err = json.Unmarshal(out, &answer)
		}
		if err == nil {
			return url.Parse(answer.URL)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no invitation: %w\n%s%s", err, out, a.logTail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// dial connects from within the appliance.
func (a *appliance) dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = a.host.Do(func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

func (a *appliance) logTail() string {
	lines := strings.Split(strings.TrimSpace(a.process.Output()), "\n")
	return "its log ends:\n" + strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}

// forward passes connections on to the appliance, until the listener is closed.
func (a *appliance) forward(ctx context.Context, l net.Listener, to netip.AddrPort) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer in.Close()
			out, err := a.dial(ctx, "tcp", to.String())
			if err != nil {
				return // the browser sees the connection close
			}
			defer out.Close()
			go func() {
				_, _ = io.Copy(out, in)
				_ = out.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(in, out)
		}()
	}
}
