package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/packaging/dev/bench/dhcpload"
	"github.com/sae-agent/sae-agent/packaging/dev/bench/tftpload"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

// The network of every measurement: one cable between the server and a host that
// plays all phones, or a relay agent, with a pool that holds 50,000 leases.
var (
	subnet     = netip.MustParsePrefix("10.55.0.0/16")
	serverAddr = netip.MustParseAddr("10.55.0.1")
	relayAddr  = netip.MustParseAddr("10.55.0.2")
	poolFirst  = netip.MustParseAddr("10.55.1.0")
	poolLast   = netip.MustParseAddr("10.55.249.255")
)

const (
	lanLink   = "lan0"
	wanLink   = "wan0"
	phoneLink = "eth0"

	leaseTime   = 12 * time.Hour
	smallFile   = "small.bin"
	smallSize   = 2000 // bytes
	largeFile   = "large.rom"
	largeSize   = 47 << 20 // a phone's firmware
	largeBlock  = 1428
	readerCount = 64

	startTimeout = time.Minute
)

// site is where one server is measured: two hosts and two folders on the disk.
type site struct {
	lab     *lab.Lab
	server  *lab.Host
	phones  *lab.Host
	self    string // this program
	build   string // folder of sae-agent and phonesim
	dir     string // leases and configuration of the server, on the disk under test
	root    string // files to serve over TFTP
	leases  int    // how many clients hold a lease when the server starts
	fleet   []phone
	readers []netip.Addr // of the clients that read files, on the phones' host

	clientsTime time.Duration // of the processors, that the last generator took
}

// newSite lays the cables to so many phones and makes empty folders below dir.
func newSite(ctx context.Context, self, build, dir string, phones int) (*site, error) {
	l, err := lab.New(ctx)
	if err != nil {
		return nil, err
	}
	s := &site{lab: l, self: self, build: build, fleet: newFleet(phones)}
	if s.dir, err = os.MkdirTemp(dir, "run-"); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.root = filepath.Join(s.dir, "tftp")
	if err := errors.Join(s.connect(), s.files()); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *site) connect() error {
	var hosts [3]*lab.Host
	for i, name := range []string{"server", "phones", "uplink"} {
		h, err := s.lab.Host(name)
		if err != nil {
			return err
		}
		hosts[i] = h
	}
	s.server, s.phones = hosts[0], hosts[1]
	err := errors.Join(
		s.lab.Connect(s.server, lanLink, s.phones, phoneLink),
		s.lab.Connect(s.server, wanLink, hosts[2], "eth0"),
		s.server.Addr(lanLink, netip.PrefixFrom(serverAddr, subnet.Bits()).String()),
		s.phones.Addr(phoneLink, netip.PrefixFrom(relayAddr, subnet.Bits()).String()),
	)
	for addr := relayAddr.Next(); err == nil && len(s.readers) < readerCount; addr = addr.Next() {
		s.readers = append(s.readers, addr)
		err = s.phones.Addr(phoneLink, netip.PrefixFrom(addr, subnet.Bits()).String())
	}
	return err
}

// files fills the TFTP root: a small file, a large one and what peers serve to the phones of the
// storm. Ours makes the phones' files itself and never looks at these.
func (s *site) files() error {
	if err := os.Chmod(s.dir, 0o755); err != nil { // some servers give up root
		return err
	}
	if err := os.Mkdir(s.root, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.root, smallFile), make([]byte, smallSize), 0o644); err != nil {
		return err
	}
	large := filepath.Join(s.root, largeFile)
	return errors.Join(os.WriteFile(large, nil, 0o644), os.Truncate(large, largeSize), writeFleetFiles(s.root, s.fleet))
}

func (s *site) close() error { return errors.Join(s.lab.Close(), os.RemoveAll(s.dir)) }

// write makes a file in the server's folder and returns its path.
func (s *site) write(name, content string) (string, error) {
	path := filepath.Join(s.dir, name)
	return path, os.WriteFile(path, []byte(content), 0o644)
}

// holder returns MAC and address of the n-th client that has a lease already.
func holder(n int) (net.HardwareAddr, netip.Addr) {
	first := poolFirst.As4()
	v := uint32(first[2])<<8 + uint32(first[3]) + uint32(n)
	return dhcpload.MAC(n), netip.AddrFrom4([4]byte{first[0], first[1], byte(v >> 8), byte(v)})
}

// child runs a part of this program (see children) on the phones' host and decodes
// what it prints into result.
func (s *site) child(ctx context.Context, name string, config, result any) error {
	arg, err := json.Marshal(config)
	if err != nil {
		return err
	}
	cmd := s.phones.Command(ctx, s.self, childFlag, name, string(arg))
	out, err := cmd.Output()
	s.noteClients(cmd)
	if err != nil {
		return fmt.Errorf("%s: %w%s", name, err, stderrOf(err))
	}
	return json.Unmarshal(out, result)
}

// noteClients notes what a generator, or a command, took of the processors.
func (s *site) noteClients(ended *exec.Cmd) {
	if p := ended.ProcessState; p != nil {
		s.clientsTime = p.UserTime() + p.SystemTime()
	}
}

// processorTime is what a process has taken of the processors so far.
func processorTime(p *lab.Process) time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(int32(^p.Pid()<<3|2), &t) != nil { // its clock, as clock_getcpuclockid(3) has it
		return 0
	}
	return time.Duration(t.Nano())
}

// children are the generators: processes of their own, so that they run inside the
// phones' namespace and the server's memory and time are not mixed with theirs.
var children = map[string]func(ctx context.Context, config []byte) (any, error){
	"dhcp": func(ctx context.Context, config []byte) (any, error) {
		var c dhcpload.Config
		if err := json.Unmarshal(config, &c); err != nil {
			return nil, err
		}
		return dhcpload.Run(ctx, c)
	},
	"tftp": func(ctx context.Context, config []byte) (any, error) {
		var c tftpload.Config
		if err := json.Unmarshal(config, &c); err != nil {
			return nil, err
		}
		return tftpload.Run(ctx, c)
	},
}

// firstOffer asks for an address as a client until it is offered one, and returns when that was.
func (s *site) firstOffer(ctx context.Context, client int) (at time.Time, err error) {
	err = s.phones.Do(func() error {
		at, err = dhcpload.FirstOffer(ctx, relayAddr, serverAddr, client)
		return err
	})
	return at, err
}

// residentKB returns how much memory the processes hold, in kB (VmRSS).
func residentKB(processes []*lab.Process) (int, error) {
	sum := 0
	for _, p := range processes {
		kb, err := statusKB(p, "VmRSS")
		if err != nil {
			return 0, err
		}
		sum += kb
	}
	return sum, nil
}

// statusKB returns a size of a process's status, in kB (proc_pid_status(5)).
func statusKB(p *lab.Process, key string) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid()))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(data), key+":")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, fmt.Errorf("no %s in the status of process %d", key, p.Pid())
	}
	return strconv.Atoi(fields[0])
}
