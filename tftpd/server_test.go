package tftpd_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
	"github.com/sae-agent/sae-agent/tftpd"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		fmt.Fprintln(os.Stderr, runChild())
		os.Exit(1)
	}
	lab.Main(m, func() error { return goleak.Find() })
}

// source is a FileSource with a func for what a name means.
type source func(r tftpd.Request) (*tftpd.File, error)

func (f source) Open(_ context.Context, r tftpd.Request) (*tftpd.File, error) { return f(r) }

func content(s string) *tftpd.File {
	return &tftpd.File{ReadCloser: io.NopCloser(strings.NewReader(s)), Size: int64(len(s))}
}

// files are served from memory; other names do not exist.
func files(m map[string]string) source {
	return func(r tftpd.Request) (*tftpd.File, error) {
		if s, ok := m[r.Name]; ok {
			return content(s), nil
		}
		return nil, fs.ErrNotExist
	}
}

type transfers struct {
	mu   sync.Mutex
	list []tftpd.Transfer
}

func (l *transfers) add(t tftpd.Transfer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, t)
}

// count tells how many requests have ended so.
func (l *transfers) count(o tftpd.Outcome) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.list {
		if t.Outcome == o {
			n++
		}
	}
	return n
}

// ended tells how many requests have ended.
func (l *transfers) ended() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.list)
}

func (l *transfers) wait(t *testing.T, o tftpd.Outcome, n int) {
	t.Helper()
	labtest.Eventually(t, func() error {
		if got := l.count(o); got != n {
			return fmt.Errorf("%d requests ended as %s, want %d", got, o, n)
		}
		return nil
	})
}

// start runs a server on loopback, and notes what becomes of requests.
func start(t *testing.T, cfg tftpd.Config, src tftpd.FileSource) (*tftpd.Server, *transfers) {
	t.Helper()
	seen := new(transfers)
	return run(t, cfg, src, tftpd.Options{OnTransfer: seen.add}), seen
}

// The loops can be asked whether they turn, and serve on.
func TestAlive(t *testing.T) {
	s, _ := start(t, tftpd.Config{}, source(nil))
	for range 100 {
		if err := s.Alive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// run runs a server on loopback.
func run(t *testing.T, cfg tftpd.Config, src tftpd.FileSource, opts tftpd.Options) *tftpd.Server {
	t.Helper()
	if !cfg.Listen.IsValid() {
		cfg.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	}
	opts.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := tftpd.New(cfg, src, opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	labtest.Eventually(t, func() error {
		if !s.Addr().IsValid() {
			return fmt.Errorf("not listening")
		}
		return nil
	})
	return s
}

// childEnv makes the test binary the server of a lab's appliance.
const childEnv = "TFTPD_TEST_CHILD"

// firmware is as large as a Yealink's: 90,871 blocks of 512 bytes.
var firmware = bytes.Repeat([]byte("T42U-108.86.0.75"), 46525712/16)

// labFiles are what the server of a lab has.
func labFiles(r tftpd.Request) (*tftpd.File, error) {
	switch r.Name {
	case "001565aabbcc.cfg":
		return content(phoneFile), nil
	case "T42U.rom":
		return &tftpd.File{ReadCloser: io.NopCloser(bytes.NewReader(firmware)), Size: int64(len(firmware))}, nil
	case "stations":
		return content(fmt.Sprint(r.Stations)), nil
	case "secret.cfg":
		return nil, fs.ErrPermission
	case "panic.cfg":
		panic("a bug")
	case "goroutines":
		return content(fmt.Sprintln(runtime.NumGoroutine())), nil
	case "no-descriptors", "descriptors":
		return content("ok"), limitFiles(r.Name == "no-descriptors")
	case "T42U-from-memory":
		return &tftpd.File{ReadCloser: io.NopCloser(bytes.NewReader(firmware[:70_000])), Size: 70_000}, nil
	case "on-disk.rom":
		return diskFile()
	}
	return nil, fs.ErrNotExist
}

// limitFiles has this process open no more files, or as many as it may.
func limitFiles(on bool) error {
	limit := unix.Rlimit{Cur: 1024, Max: 1024}
	if on {
		next, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		limit.Cur = uint64(next.Fd()) // the lowest that is free
		_ = next.Close()
	}
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
}

// diskFile opens a file that is not in memory: this program's beginning.
func diskFile() (*tftpd.File, error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	return &tftpd.File{ReadCloser: struct {
		io.Reader
		io.Closer
	}{io.LimitReader(f, 200_000), f}, Size: 200_000}, nil
}

// runChild serves on a lab's appliance, in a process of its own: pin/tftp opens
// sockets on whatever thread it runs, and a thread has its own network namespace.
func runChild() error {
	cfg := tftpd.Config{
		Listen: netip.MustParseAddrPort("192.168.1.1:69"), Interface: "ens34", Allow: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")},
	}
	s, err := tftpd.New(cfg, source(labFiles), tftpd.Options{OnTransfer: func(t tftpd.Transfer) { fmt.Println(t.Name, t.Outcome, t.Stations) }})
	if err != nil {
		return err
	}
	return s.Run(context.Background())
}

// appliance is a lab with a server at 192.168.1.1 and a phone beside it.
func appliance(t *testing.T) (phone *labtest.Host, server *labtest.Process) {
	l := labtest.New(t)
	lan, host := l.Switch("lan"), l.Host("server")
	phone = l.Host("phone")
	lan.Plug(host, "ens34")
	lan.Plug(phone, "eth0")
	host.Addr("ens34", "192.168.1.1/24")
	phone.Addr("eth0", "192.168.1.20/24")
	exe, err := lab.Self()
	if err != nil {
		t.Fatal(err)
	}
	server = host.Start("env", childEnv+"=1", exe)
	labtest.Eventually(t, func() error {
		out, _ := phone.Command("tftp", "-m", "octet", "192.168.1.1", "-c", "get", "ready", "/run/ready").CombinedOutput()
		if !strings.Contains(string(out), "Error code 1") {
			return fmt.Errorf("the server does not answer: %s", out)
		}
		return nil
	})
	return phone, server
}

const phoneFile = "#!version:1.0.0.1\naccount.1.user_name = 100\n"

func TestRealClientsReadAFile(t *testing.T) {
	t.Parallel()
	phone, server := appliance(t)
	for name, run := range map[string]string{
		"tftp-hpa":          "tftp -m octet 192.168.1.1 -c get 001565aabbcc.cfg /run/got",
		"tftp-hpa, as text": "tftp -m ascii 192.168.1.1 -c get 001565aabbcc.cfg /run/got",
		"atftp":             "atftp --get -r 001565aabbcc.cfg -l /run/got 192.168.1.1",
		"atftp, options":    `atftp --option "blksize 1428" --option "tsize 0" --option "timeout 3" --get -r 001565aabbcc.cfg -l /run/got 192.168.1.1`,
		"curl":              "curl -sSf -o /run/got tftp://192.168.1.1/001565aabbcc.cfg",
		"busybox":           "busybox tftp -g -b 1428 -r 001565aabbcc.cfg -l /run/got 192.168.1.1",
	} {
		phone.Run("sh", "-c", "rm -f /run/got; "+run)
		if got := phone.Run("cat", "/run/got"); got != phoneFile {
			t.Errorf("%s got %q", name, got)
		}
	}
	eventuallySaid(t, server, "001565aabbcc.cfg served", 6)
}

// Who asks is told by the frame of its request, whoever has the address.
func TestRequestTellsItsStation(t *testing.T) {
	t.Parallel()
	phone, server := appliance(t)
	own := phone.MAC("eth0").String()
	phone.Run("curl", "-sSf", "-o", "/run/got", "tftp://192.168.1.1/001565aabbcc.cfg")
	// Who opens the file is also told to whom its answer goes.
	if got := phone.Run("curl", "-sSf", "tftp://192.168.1.1/stations"); got != fmt.Sprintf("[%[1]s %[1]s]", own) {
		t.Errorf("the stations of a request and of its answer: %s", got)
	}
	// The card of another machine with the same address, in the same socket.
	phone.SetMAC("eth0", "02:00:00:00:00:66")
	phone.Run("curl", "-sSf", "-o", "/run/got", "tftp://192.168.1.1/001565aabbcc.cfg")
	labtest.Eventually(t, func() error {
		for _, want := range []string{"001565aabbcc.cfg served [" + own + "]", "001565aabbcc.cfg served [02:00:00:00:00:66]"} {
			if !strings.Contains(server.Output(), want) {
				return fmt.Errorf("not %q", want)
			}
		}
		return nil
	})
}

func TestRealClientsAreRefused(t *testing.T) {
	t.Parallel()
	phone, server := appliance(t)
	for command, want := range map[string]string{
		"tftp -m octet 192.168.1.1 -c get missing.cfg /run/got":     "Error code 1: file not found",
		"tftp -m octet 192.168.1.1 -c get secret.cfg /run/got":      "Error code 2: access violation",
		"tftp -m octet 192.168.1.1 -c put /etc/hostname upload.cfg": "Error code 2: this server is read-only",
		"tftp -m octet 192.168.1.1 -c get panic.cfg /run/got":       "Error code 0: the file cannot be read",
		"atftp --get -r secret.cfg -l /run/got 192.168.1.1 2>&1":    "access violation",
		"curl -sS -o /run/got tftp://192.168.1.1/missing.cfg 2>&1":  "(68)", // CURLE_TFTP_NOTFOUND
		"curl -sS -o /run/got tftp://192.168.1.1/secret.cfg 2>&1":   "(69)", // CURLE_TFTP_PERM
	} {
		out, _ := phone.Command("sh", "-c", command).CombinedOutput() // tftp-hpa exits with 0 or 1
		if !strings.Contains(string(out), want) {
			t.Errorf("%s: %s, want %q", command, out, want)
		}
	}
	eventuallySaid(t, server, "secret.cfg denied", 3)
}

// eventuallySaid fails the test unless the server comes to have said something so many times: a client has its answer
// before the server says what became of it.
func eventuallySaid(t *testing.T, server *labtest.Process, what string, times int) {
	t.Helper()
	labtest.Eventually(t, func() error {
		if n := strings.Count(server.Output(), what); n != times {
			return fmt.Errorf("%q was said %d times, not %d:\n%s", what, n, times, server.Output())
		}
		return nil
	})
}

// The block number has 16 bits and wraps.
func TestBlockNumberWraps(t *testing.T) {
	t.Parallel()
	phone, _ := appliance(t)
	phone.Run("curl", "-sSf", "--tftp-no-options", "-o", "/run/got", "tftp://192.168.1.1/T42U.rom")
	want := fmt.Sprintf("%x", sha256.Sum256(firmware))
	if got := phone.Run("sha256sum", "/run/got"); !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestDirServesRegularFilesOnly(t *testing.T) {
	root := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside")
	for _, err := range []error{
		os.WriteFile(outside, []byte("x"), 0o644),
		os.WriteFile(filepath.Join(root, "ring.wav"), []byte("riff"), 0o644),
		os.Mkdir(filepath.Join(root, "fw"), 0o755),
		os.WriteFile(filepath.Join(root, "fw", "t42.rom"), []byte("rom"), 0o644),
		os.Symlink("ring.wav", filepath.Join(root, "inside")),
		os.Symlink(outside, filepath.Join(root, "out")),
		os.Symlink("loop", filepath.Join(root, "loop")),
		syscall.Mkfifo(filepath.Join(root, "pipe"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := tftpd.NewDir(root, nil, nil)
	defer dir.Close()
	for name, want := range map[string]any{
		"ring.wav": "riff", "/ring.wav": "riff", "fw/t42.rom": "rom", `fw\t42.rom`: "rom", "./ring.wav": "riff", "inside": "riff",
		"missing": fs.ErrNotExist, "": fs.ErrPermission, "/": fs.ErrPermission, "fw": fs.ErrPermission,
		"../" + filepath.Base(root) + "/ring.wav": fs.ErrPermission, "fw/../ring.wav": fs.ErrPermission,
		"out": fs.ErrPermission, "loop": fs.ErrPermission, "pipe": fs.ErrPermission, "ring.wav/x": fs.ErrPermission,
	} {
		f, err := dir.Open(t.Context(), tftpd.Request{Name: name})
		if wantErr, ok := want.(error); ok {
			if !errors.Is(err, wantErr) {
				t.Errorf("%q: %v, want %v", name, err, wantErr)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		got, _ := io.ReadAll(f)
		_ = f.Close()
		if string(got) != want || f.Size != int64(len(got)) {
			t.Errorf("%q: %q of size %d, want %q", name, got, f.Size, want)
		}
	}
}

// A name that is hidden is found under no other one.
func TestDirHides(t *testing.T) {
	root := t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(root, "secret"), []byte("x"), 0o644), os.Symlink("secret", filepath.Join(root, "link")),
		os.Symlink("link", filepath.Join(root, "secret-link")), os.WriteFile(filepath.Join(root, "open"), []byte("x"), 0o644),
		os.Symlink("open", filepath.Join(root, "other")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := tftpd.NewDir(root, func(base string) bool { return strings.HasPrefix(base, "secret") }, nil)
	defer dir.Close()
	for name, want := range map[string]error{"secret": fs.ErrNotExist, "./secret": fs.ErrNotExist, "link": fs.ErrNotExist, "secret-link": fs.ErrNotExist, "open": nil, "other": nil} {
		f, err := dir.Open(t.Context(), tftpd.Request{Name: name})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			_ = f.Close()
		}
	}
}

// A directory that is made later, or replaced, is found.
func TestDirIsReplaced(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	dir := tftpd.NewDir(root, nil, nil)
	defer dir.Close()
	if _, err := dir.Open(t.Context(), tftpd.Request{Name: "a"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	for _, want := range []string{"first", "second"} {
		_ = os.Rename(root, root+".old")
		if err := errors.Join(os.Mkdir(root, 0o755), os.WriteFile(filepath.Join(root, "a"), []byte(want), 0o644)); err != nil {
			t.Fatal(err)
		}
		f, err := dir.Open(t.Context(), tftpd.Request{Name: "a"})
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(f); string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// peer is a client that speaks by hand.
type peer struct {
	t    *testing.T
	conn *net.UDPConn
	to   netip.AddrPort
}

func newPeer(t *testing.T, s *tftpd.Server) *peer {
	return newPeerAt(t, s, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
}

func newPeerAt(t *testing.T, s *tftpd.Server, addr netip.Addr) *peer {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: addr.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &peer{t, conn, s.Addr()}
}

func (p *peer) read(name string) {
	p.t.Helper()
	if _, err := p.conn.WriteToUDPAddrPort([]byte("\x00\x01"+name+"\x00octet\x00"), p.to); err != nil {
		p.t.Fatal(err)
	}
}

// receive returns the next packet and who sent it; nil when none comes.
func (p *peer) receive(wait time.Duration) ([]byte, netip.AddrPort) {
	buf := make([]byte, 2048)
	_ = p.conn.SetReadDeadline(time.Now().Add(wait))
	n, from, err := p.conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		return nil, from
	}
	return buf[:n], from
}

func (p *peer) ack(to netip.AddrPort, block byte) {
	p.t.Helper()
	if _, err := p.conn.WriteToUDPAddrPort([]byte{0, 4, 0, block}, to); err != nil {
		p.t.Fatal(err)
	}
}

func TestRepeatedRequestIsAnsweredOnce(t *testing.T) {
	s, seen := start(t, tftpd.Config{Timeout: time.Hour}, files(map[string]string{"a": "x"}))
	p := newPeer(t, s)
	for range 3 {
		p.read("a")
	}
	data, from := p.receive(10 * time.Second)
	if string(data) != "\x00\x03\x00\x01x" {
		t.Fatalf("got %q", data)
	}
	seen.wait(t, tftpd.Repeated, 2)
	p.ack(from, 1)
	seen.wait(t, tftpd.Served, 1)
	if data, _ := p.receive(50 * time.Millisecond); data != nil {
		t.Errorf("a second answer: %q", data)
	}
}

// Options are answered, a lost block is sent again, a late acknowledgement changes
// nothing, and a file that fills its last block ends with an empty one.
func TestDelivery(t *testing.T) {
	s, seen := start(t, tftpd.Config{Timeout: 100 * time.Millisecond}, files(map[string]string{"a": strings.Repeat("x", 1200)}))
	p := newPeer(t, s)
	if _, err := p.conn.WriteToUDPAddrPort([]byte("\x00\x01a\x00octet\x00BLKSIZE\x00600\x00tsize\x000\x00"), p.to); err != nil {
		t.Fatal(err)
	}
	oack, from := p.receive(10 * time.Second)
	if string(oack) != "\x00\x06blksize\x00600\x00tsize\x001200\x00" {
		t.Fatalf("got %q", oack)
	}
	expect := func(block byte, size int) {
		t.Helper()
		for {
			data, _ := p.receive(10 * time.Second)
			if len(data) >= 4 && data[1] == 6 {
				continue // the OACK again
			}
			if len(data) != size+4 || data[1] != 3 || data[3] != block {
				t.Fatalf("got %.20q of %d bytes, want block %d of %d", data, len(data), block, size)
			}
			return
		}
	}
	p.ack(from, 0)
	expect(1, 600)
	expect(1, 600) // not acknowledged
	p.ack(from, 1)
	p.ack(from, 1) // twice
	expect(2, 600)
	p.ack(from, 2)
	for data, _ := p.receive(10 * time.Second); len(data) != 4; data, _ = p.receive(10 * time.Second) {
		if len(data) != 604 { // block 2 may have been repeated
			t.Fatalf("got %q", data)
		}
	}
	p.ack(from, 3)
	seen.wait(t, tftpd.Served, 1)
}

// An attacker who never acknowledges anything holds few transfers, others go on.
func TestUnacknowledgedTransfersAreLimited(t *testing.T) {
	// Long enough for all requests to arrive while the first transfers wait, whatever else the machine does.
	s, seen := start(t, tftpd.Config{MaxPerClient: 4, MaxTransfers: 6, Timeout: 2 * time.Second, Retries: 1},
		source(func(tftpd.Request) (*tftpd.File, error) { return content("x"), nil }))
	for i := range 10 {
		newPeer(t, s).read(fmt.Sprint(i))
	}
	seen.wait(t, tftpd.OverLimit, 6)
	seen.wait(t, tftpd.Failed, 4) // each ends by itself
	p := newPeer(t, s)
	p.read("again")
	_, from := p.receive(10 * time.Second)
	p.ack(from, 1)
	seen.wait(t, tftpd.Served, 1)
}

// A client that asks for something else from the same port has given up what it asked for before.
func TestNewRequestFromTheSamePortEndsTheOldOne(t *testing.T) {
	s, seen := start(t, tftpd.Config{Timeout: time.Hour},
		source(func(r tftpd.Request) (*tftpd.File, error) { return content(r.Name), nil }))
	p := newPeer(t, s)
	p.read("old")
	p.receive(10 * time.Second)
	p.read("new")
	data, from := p.receive(10 * time.Second)
	if string(data[4:]) != "new" {
		t.Errorf("got %q", data)
	}
	p.ack(from, 1)
	seen.wait(t, tftpd.Served, 1)
	seen.wait(t, tftpd.Failed, 1)
}

func TestOtherNetworksAreNotAnswered(t *testing.T) {
	s, seen := start(t, tftpd.Config{Allow: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}}, files(map[string]string{"a": "x"}))
	p := newPeer(t, s)
	p.read("a")
	seen.wait(t, tftpd.FromOutside, 1)
	if data, _ := p.receive(50 * time.Millisecond); data != nil {
		t.Errorf("an answer: %q", data)
	}
}

func TestMetrics(t *testing.T) {
	s, seen := start(t, tftpd.Config{}, files(map[string]string{"a": "hello"}))
	p := newPeer(t, s)
	p.read("a")
	_, from := p.receive(10 * time.Second)
	p.ack(from, 1)
	seen.wait(t, tftpd.Served, 1)
	if err := testutil.CollectAndCompare(s, strings.NewReader(`
# HELP sae_tftp_sent_bytes_total Bytes of files sent, by kind of file, repetitions not counted.
# TYPE sae_tftp_sent_bytes_total counter
sae_tftp_sent_bytes_total{kind="file"} 5
# HELP sae_tftp_transfers Transfers under way.
# TYPE sae_tftp_transfers gauge
sae_tftp_transfers 0
`), "sae_tftp_sent_bytes_total", "sae_tftp_transfers"); err != nil {
		t.Error(err)
	}
}

// A server that ends does not wait for a client that has gone.
func TestShutdownIsBounded(t *testing.T) {
	seen := new(transfers)
	s, err := tftpd.New(tftpd.Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Timeout: time.Hour},
		files(map[string]string{"a": "x"}), tftpd.Options{OnTransfer: seen.add})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	labtest.Eventually(t, func() error {
		if !s.Addr().IsValid() {
			return fmt.Errorf("not listening")
		}
		return nil
	})
	p := newPeer(t, s)
	p.read("a")
	_, from := p.receive(10 * time.Second)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if seen.count(tftpd.Failed) != 1 {
		t.Error("the transfer was not cut off")
	}
	p.ack(from, 1) // to nobody
}

func TestPortTaken(t *testing.T) {
	s, _ := start(t, tftpd.Config{}, files(nil))
	second, err := tftpd.New(tftpd.Config{Listen: s.Addr()}, files(nil), tftpd.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "holds UDP port") {
		t.Errorf("got %v", err)
	}
}
