package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sae-agent/sae-agent/agent/sipcall"
)

// The ports that a phone sends from, one after the other.
const (
	firstPort = 1024
	portCount = 4000
)

// Phone is a phone to simulate.
type Phone struct {
	MAC       net.HardwareAddr
	Model     string
	Extension string // the line that it must get; empty: any
}

// State is how far a phone came.
type State string

// States of phones.
const (
	Off         State = "off"
	Booting     State = "dhcp"
	Fetching    State = "files"
	Registering State = "register"
	Provisioned State = "provisioned" // has its file
	Registered  State = "registered"
	Pending     State = "pending" // got a file without a line: the server does not know it yet
	Failed      State = "failed"
)

// States lists all states, in the order in which phones come through them.
func States() []State {
	return []State{Off, Booting, Fetching, Registering, Pending, Provisioned, Registered, Failed}
}

// Final reports whether a phone in this state is done.
func (s State) Final() bool {
	return s == Provisioned || s == Registered || s == Pending || s == Failed
}

// File is one file that a phone asked for.
type File struct {
	Name  string `json:"name"`
	Bytes int    `json:"bytes"`
	Error string `json:"error,omitempty"`
}

// Result is how one phone fared. Durations are of one stage each, Total from power
// on to the end; 0 says that the phone did not come through it.
type Result struct {
	MAC       string        `json:"mac"`
	Model     string        `json:"model"`
	State     State         `json:"state"`
	Extension string        `json:"extension,omitempty"` // that it got
	Addr      string        `json:"address,omitempty"`
	Server    string        `json:"server,omitempty"` // option 66
	Files     []File        `json:"files"`
	Repeated  int           `json:"dhcp_retransmissions"`
	DHCP      time.Duration `json:"dhcp_ns,omitempty"`
	Fetched   time.Duration `json:"files_ns,omitempty"`
	Register  time.Duration `json:"register_ns,omitempty"`
	Total     time.Duration `json:"total_ns,omitempty"`
	Error     string        `json:"error,omitempty"`
}

// handset is a phone at work. All but now belongs to the goroutine that runs it.
type handset struct {
	phone    Phone
	opts     Options
	host     *host
	now      atomic.Pointer[Result] // what others may look at
	ports    atomic.Uint32          // how many were used
	web      *web
	lease    *lease
	source   source
	settings settings
	line     *sipcall.Phone
	account  account   // of the line
	notified chan bool // NOTIFY check-sync, with reboot=true or not; one that waits stands for more
	tone     float64   // that it sends in a call, in Hz
}

func newHandset(p Phone, opts Options, l *link) *handset {
	h := &handset{phone: p, opts: opts, host: l.plug(mac(p.MAC)), settings: make(settings), notified: make(chan bool, 1)}
	h.now.Store(&Result{MAC: p.MAC.String(), Model: p.Model, State: Off, Files: []File{}})
	return h
}

// update changes the result that others may be reading.
func (h *handset) update(change func(*Result)) {
	r := *h.now.Load()
	r.Files = append(make([]File, 0, len(r.Files)+1), r.Files...)
	change(&r)
	h.now.Store(&r)
}

// stage runs one part of the boot and notes how long it took.
func (h *handset) stage(s State, took func(*Result) *time.Duration, do func() error) error {
	h.update(func(r *Result) { r.State = s })
	start := time.Now()
	if err := do(); err != nil {
		return err
	}
	h.update(func(r *Result) { *took(r) = time.Since(start) })
	return nil
}

// run powers the phone on and returns when it has its line or gives up.
func (h *handset) run(ctx context.Context) {
	start := time.Now()
	state, err := h.boot(ctx)
	if err == nil {
		err = h.host.conflict()
	}
	h.update(func(r *Result) {
		r.State, r.Total = state, time.Since(start)
		if err != nil {
			r.State, r.Error, r.Total = Failed, err.Error(), 0
		}
	})
}

func (h *handset) boot(ctx context.Context) (State, error) {
	err := h.stage(Booting, func(r *Result) *time.Duration { return &r.DHCP }, func() error {
		l, err := h.host.boot(ctx, func() { h.update(func(r *Result) { r.Repeated++ }) })
		if err == nil {
			h.lease = &l
			h.update(func(r *Result) { r.Addr, r.Server = l.addr.Addr().String(), l.option66 })
		}
		return err
	})
	if err != nil {
		return Failed, err
	}
	if h.lease.option66 == "" {
		return Failed, errors.New("the lease has no option 66: the phone does not know where its files are")
	}
	return h.configure(ctx)
}

// configure fetches the phone's files, and has the line that they give it.
func (h *handset) configure(ctx context.Context) (State, error) {
	err := h.stage(Fetching, func(r *Result) *time.Duration { return &r.Fetched }, func() error {
		return h.fetchAll(ctx, h.lease.option66)
	})
	if err != nil {
		return Failed, err
	}
	a, ok := h.settings.account()
	h.update(func(r *Result) { r.Extension = a.user })
	switch {
	case !ok && h.phone.Extension == "":
		return Pending, nil
	case !ok:
		return Failed, fmt.Errorf("wrong file: it has no line, want extension %s", h.phone.Extension)
	case h.phone.Extension != "" && a.user != h.phone.Extension:
		return Failed, fmt.Errorf("wrong file: it is for extension %s, want %s", a.user, h.phone.Extension)
	}
	if !h.opts.Register {
		return Provisioned, nil
	}
	return Registered, h.stage(Registering, func(r *Result) *time.Duration { return &r.Register }, func() error {
		return h.register(ctx, a)
	})
}

// leave gives back what the phone holds: its registration and its address.
func (h *handset) leave(ctx context.Context) error {
	var err error
	if h.line != nil {
		err = h.line.Register(ctx, 0)
	}
	if h.lease != nil {
		err = errors.Join(err, h.host.release(ctx, *h.lease))
	}
	return err
}

// close frees what the phone holds here.
func (h *handset) close() {
	if h.line != nil {
		_ = h.line.Close() // all that had to be said was said
	}
	if h.web != nil {
		h.web.close()
	}
}

// network returns the phone's TCP, made when it is needed.
func (h *handset) network() (*web, error) {
	if h.web == nil {
		w, err := newWeb(h.host, h.opts.Insecure, h.lookup)
		if err != nil {
			return nil, err
		}
		h.web = w
	}
	return h.web, nil
}

// lookup finds the address of a host by the phone's own DNS servers.
func (h *handset) lookup(ctx context.Context, name string) (netip.Addr, error) {
	return h.host.lookup(ctx, h.lease.resolvers, h.nextPort(), name)
}

// nextPort returns a port that the phone did not use lately.
func (h *handset) nextPort() uint16 {
	return uint16(firstPort + h.ports.Add(1)%portCount)
}

func (h *handset) userAgent() string {
	return fmt.Sprintf("Yealink SIP-%s 108.86.0.75 %s", h.phone.Model, h.phone.MAC)
}

// portOf returns the port of a URL, or the usual one.
func portOf(u *url.URL, usual uint16) uint16 {
	if p, err := strconv.ParseUint(u.Port(), 10, 16); err == nil && p > 0 {
		return uint16(p)
	}
	return usual
}
