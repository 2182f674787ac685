package sim

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sae-agent/sae-agent/agent/phones/yealink"
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

// File is one file that a phone asked for.
type File struct {
	Name  string `json:"name"`
	Bytes int    `json:"bytes"`
	Error string `json:"error,omitempty"`
}

// Result is how one phone fared. Durations are from the moment of power on.
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

// handset is a phone at work.
type handset struct {
	phone    Phone
	opts     Options
	host     *host
	port     uint16 // of the next TFTP transfer
	web      *web
	now      atomic.Pointer[Result] // what the live table shows
	powered  time.Time
	settings settings
}

func newHandset(p Phone, opts Options, l *link) *handset {
	h := &handset{phone: p, opts: opts, host: l.plug(mac(p.MAC)), port: 1024}
	h.now.Store(&Result{MAC: p.MAC.String(), Model: p.Model, State: Off, Files: []File{}})
	return h
}

// update changes the result that others may be reading.
func (h *handset) update(change func(*Result)) {
	r := *h.now.Load()
	r.Files = append([]File(nil), r.Files...)
	change(&r)
	h.now.Store(&r)
}

// run powers the phone on and returns when it has its line or gives up.
func (h *handset) run(ctx context.Context) {
	h.powered = time.Now()
	err := h.boot(ctx)
	h.update(func(r *Result) {
		r.Total = time.Since(h.powered)
		if err != nil {
			r.State, r.Error = Failed, err.Error()
			if errors.Is(err, context.DeadlineExceeded) {
				r.Error = "no end in time: " + err.Error()
			}
		}
	})
	if h.web != nil {
		h.web.close()
	}
}

func (h *handset) boot(ctx context.Context) error {
	h.update(func(r *Result) { r.State = Booting })
	l, err := h.host.boot(ctx, "yealink", func() { h.update(func(r *Result) { r.Repeated++ }) })
	if err != nil {
		return err
	}
	if h.opts.Release {
		defer func() { _ = h.host.release(context.WithoutCancel(ctx), l) }() // as good as it gets when all is over
	}
	h.update(func(r *Result) {
		r.State, r.Addr, r.Server, r.DHCP = Fetching, l.addr.Addr().String(), l.option66, time.Since(h.powered)
	})
	if l.option66 == "" {
		return errors.New("the lease has no option 66: the phone does not know where its files are")
	}
	if err := h.fetchAll(ctx, l.option66); err != nil {
		return err
	}
	return h.line(ctx)
}

// line looks at what the files gave, and registers.
func (h *handset) line(ctx context.Context) error {
	a, ok := h.settings.account()
	h.update(func(r *Result) { r.Fetched, r.State, r.Extension = time.Since(h.powered), Pending, a.user })
	switch {
	case !ok && h.phone.Extension == "":
		return nil
	case !ok:
		return fmt.Errorf("its file has no line, want extension %s", h.phone.Extension)
	case h.phone.Extension != "" && a.user != h.phone.Extension:
		return fmt.Errorf("its file is for extension %s, want %s", a.user, h.phone.Extension)
	}
	h.update(func(r *Result) { r.State = Provisioned })
	if !h.opts.Register {
		return nil
	}
	h.update(func(r *Result) { r.State = Registering })
	if err := h.host.register(ctx, a, h.userAgent()); err != nil {
		return err
	}
	h.update(func(r *Result) { r.State, r.Register = Registered, time.Since(h.powered) })
	return nil
}

// names are the files that a phone asks for, in order: boot files first, since
// who finds one asks for nothing else.
func (h *handset) names() []string {
	id := hex.EncodeToString(h.phone.MAC)
	names := []string{id + ".boot", "y000000000000.boot"}
	if m, ok := yealink.LookupModel(h.phone.Model); ok {
		names = append(names, m.CommonFile)
	}
	return append(names, id+".cfg")
}

// fetchAll asks for the phone's files. Only the last must be there.
func (h *handset) fetchAll(ctx context.Context, option66 string) error {
	h.settings = make(settings)
	names := h.names()
	for i, name := range names {
		data, err := h.fetch(ctx, option66, name)
		h.update(func(r *Result) {
			f := File{Name: name, Bytes: len(data)}
			if err != nil {
				f.Error = err.Error()
			}
			r.Files = append(r.Files, f)
		})
		var missing *errMissing
		switch {
		case errors.As(err, &missing) && i < len(names)-1:
			continue
		case err != nil:
			return fmt.Errorf("%s: %w", name, err)
		case strings.HasSuffix(name, ".boot"):
			return fmt.Errorf("%s exists: a phone that finds a boot file asks for nothing else", name)
		}
		found, err := parseSettings(data)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for k, v := range found {
			h.settings[k] = v
		}
	}
	return nil
}

// fetch gets one file from where option 66 says: a URL, or the name of a TFTP server.
func (h *handset) fetch(ctx context.Context, option66, name string) ([]byte, error) {
	if !strings.Contains(option66, "://") {
		option66 = "tftp://" + option66
	}
	u, err := url.Parse(option66)
	if err != nil {
		return nil, fmt.Errorf("option 66 is %q: %w", option66, err)
	}
	switch u.Scheme {
	case "tftp":
		addr, err := netip.ParseAddr(u.Hostname())
		if err != nil {
			return nil, fmt.Errorf("option 66 is %q: phones here know no DNS, use an address", option66)
		}
		h.port++
		return h.host.tftp(ctx, netip.AddrPortFrom(addr, 69), h.port, strings.TrimLeft(u.JoinPath(name).Path, "/"))
	case "http", "https":
		if h.web == nil {
			if h.web, err = newWeb(h.host, h.opts.Insecure); err != nil {
				return nil, err
			}
		}
		return h.web.get(ctx, u.JoinPath(name).String(), h.userAgent())
	}
	return nil, fmt.Errorf("option 66 is %q: only tftp, http and https are simulated", option66)
}

func (h *handset) userAgent() string {
	return fmt.Sprintf("Yealink SIP-%s 108.86.0.75 %s", h.phone.Model, h.phone.MAC)
}
