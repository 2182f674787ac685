// Package console is the part that shows the appliance in a browser, and answers its
// API, on the LAN.
package console

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/console"
	"github.com/sae-agent/sae-agent/agent/console/account"
	"github.com/sae-agent/sae-agent/agent/console/audit"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/mdns"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/problem"
)

const (
	name     = "console"
	nameMDNS = "mdns"
	// label is the first part of its name in .local.
	label = "sae"
	// tokenDays is how long a token of the API is good unless something else is asked for.
	tokenDays    = 365
	maxTokenDays = 3650
)

// Deps are what the part needs of others.
type Deps struct {
	// Dispatcher carries operations out.
	Dispatcher  func() *control.Dispatcher
	Certificate func() (tls.Certificate, error)
	// Authority is what has signed it (PEM); empty where that is not ours.
	Authority func() (string, error)
	// Names are those by which people may ask for this machine.
	Names   func() []string
	Version string
}

// Part is the console.
type Part struct {
	host     part.Host
	deps     Deps
	accounts *account.Store
	orders   *audit.Log
	server   atomic.Pointer[console.Server]
	mdns     atomic.Pointer[mdns.Responder]
}

// New returns the part.
func New(h part.Host, d Deps) *Part { return &Part{host: h, deps: d} }

// Name implements part.Part.
func (p *Part) Name() string { return name }

// Open implements part.Opener.
func (p *Part) Open(context.Context, part.Input) (err error) {
	dir := p.host.Paths().InState(name)
	if p.accounts, err = account.Open(filepath.Join(dir, "accounts.json")); err != nil {
		return err
	}
	p.orders, err = audit.Open(filepath.Join(dir, "orders.jsonl"))
	return err
}

// Units implements part.Part.
func (p *Part) Units() []part.Unit {
	return []part.Unit{part.NewUnit(part.Spec[console.Config]{
		Name: name,
		Desired: func(_ context.Context, in part.Input) (console.Config, bool, error) {
			return Desired(in.Config, p.deps.Names()), in.Config.Console.Enabled, nil
		},
		Build: func(_ context.Context, c console.Config) (part.Run[console.Config], error) {
			s, err := console.New(c, console.Sources{
				Dispatcher: p.deps.Dispatcher(), Accounts: p.accounts, Certificate: p.deps.Certificate, LocalName: p.localName, Version: p.deps.Version,
			}, p.host.Logger(name))
			if err != nil {
				return part.Run[console.Config]{}, err
			}
			p.server.Store(s)
			return part.Run[console.Config]{Run: s.Run}, nil
		},
	}), part.NewUnit(part.Spec[mdns.Config]{
		Name: nameMDNS,
		Desired: func(_ context.Context, in part.Input) (mdns.Config, bool, error) {
			lan := in.Config.LAN
			return mdns.Config{Interface: lan.Interface, Addr: lan.Address.Addr(), LAN: lan.Address.Masked(), Label: label}, in.Config.Console.Enabled, nil
		},
		Build: func(_ context.Context, c mdns.Config) (part.Run[mdns.Config], error) {
			r := mdns.New(c, p.host.Logger(nameMDNS))
			p.mdns.Store(r)
			return part.Run[mdns.Config]{Run: r.Run}, nil
		},
	})}
}

// localName is the name in .local that is ours; empty while there is none.
func (p *Part) localName() string {
	if r := p.mdns.Load(); r != nil {
		return r.Name()
	}
	return ""
}

// LocalNames are the names in .local that the certificate must have: the one that it is mostly, so that the certificate
// need not change when it comes, and the one that is ours.
func (p *Part) LocalNames() []string {
	if !p.host.Running().Config.Console.Enabled {
		return nil
	}
	names := []string{label + ".local"}
	if n := p.localName(); n != "" && n != names[0] {
		names = append(names, n)
	}
	return names
}

// Desired is where the console is, and who may come.
func Desired(c *config.Config, names []string) console.Config {
	out := console.Config{
		Site: c.Site.Name, Addr: c.LAN.Address.Addr(), Ports: c.ConsolePorts(), LAN: c.LAN.Address.Masked(), Names: slices.Clone(names),
	}
	for _, p := range c.Console.Allow {
		out.Allow = append(out.Allow, p.Masked())
	}
	return out
}

// where is where it is now.
func (p *Part) where() control.ConsoleStatus {
	if s := p.server.Load(); s != nil {
		return s.Where()
	}
	return control.ConsoleStatus{}
}

// Report implements part.Reporter.
func (p *Part) Report(st *control.Status) []problem.Problem {
	st.Console = p.where()
	return nil
}

// Ordered implements part.Auditor.
func (p *Part) Ordered(o control.Order) {
	if err := p.orders.Add(o); err != nil {
		p.host.Logger(name).Error("who has changed what could not be noted", "err", err)
	}
}

// Operations implements part.Operator.
func (p *Part) Operations() []control.Handler {
	return []control.Handler{
		control.Handle(control.ListAccess, func(context.Context, control.None) (control.Access, error) { return p.accounts.List(), nil }),
		control.Handle(control.InviteAccount, p.invite),
		control.Handle(control.RemoveAccount, func(_ context.Context, r control.NameRequest) (control.None, error) {
			return control.None{}, explain(p.accounts.Remove(r.Name))
		}),
		control.Handle(control.RemovePasskeys, func(_ context.Context, r control.NameRequest) (control.None, error) {
			return control.None{}, explain(p.accounts.RemovePasskeys(r.Name))
		}),
		control.Handle(control.CreateToken, p.createToken),
		control.Handle(control.RemoveToken, func(_ context.Context, r control.NameRequest) (control.None, error) {
			return control.None{}, explain(p.accounts.RemoveToken(r.Name))
		}),
		control.Handle(control.GetAuthority, p.authority),
		control.Handle(control.ListOrders, func(context.Context, control.None) ([]control.Order, error) { return p.orders.List(), nil }),
	}
}

func (p *Part) authority(context.Context, control.None) (control.Authority, error) {
	ca, err := p.deps.Authority()
	if err == nil && ca == "" {
		err = &control.Error{Code: http.StatusNotFound, Message: "the certificate is your own: the authority to trust is the one that has signed it"}
	}
	return control.Authority{PEM: ca}, err
}

func (p *Part) invite(_ context.Context, i control.Invitation) (out control.InvitationLink, err error) {
	at := p.where().URL
	if at == "" {
		return out, &control.Error{Code: http.StatusServiceUnavailable, Message: "the console is off or starting: 'sae-agent status' says more, console.enabled switches it on"}
	}
	secret, expires, err := p.accounts.Invite(i.Name, control.Role(i.Role))
	return control.InvitationLink{URL: at + "/invite/" + secret, Expires: expires}, explain(err)
}

func (p *Part) createToken(_ context.Context, r control.TokenRequest) (out control.TokenSecret, err error) {
	if r.Days == 0 {
		r.Days = tokenDays
	}
	if r.Days < 1 || r.Days > maxTokenDays {
		return out, &control.Error{Code: http.StatusUnprocessableEntity, Message: "a token is good for 1 to 3650 days"}
	}
	out.Token, out.Expires, err = p.accounts.NewToken(r.Name, control.Role(r.Role), time.Duration(r.Days)*24*time.Hour)
	return out, explain(err)
}

// explain makes an error of accounts one that the caller can do something about.
func explain(err error) error {
	for known, code := range map[error]int{
		account.ErrName: http.StatusUnprocessableEntity, account.ErrRole: http.StatusUnprocessableEntity,
		account.ErrTaken: http.StatusConflict, account.ErrTooMany: http.StatusConflict, account.ErrLastAdmin: http.StatusConflict,
		account.ErrNoSuch: http.StatusNotFound,
	} {
		if errors.Is(err, known) {
			return &control.Error{Code: code, Message: err.Error()}
		}
	}
	return err
}
