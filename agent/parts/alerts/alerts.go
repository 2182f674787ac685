// Package alerts is the part that tells people and programs of problems.
package alerts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"

	"github.com/sae-agent/sae-agent/agent/alerts"
	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/problem"
)

const (
	name      = "alerts"
	stateFile = "alerts.json"
)

// Deps are what the part needs of others.
type Deps struct {
	// Problems returns what is wrong with the appliance; false while that is not known.
	Problems func() ([]problem.Problem, bool)
}

// Part tells of problems.
type Part struct {
	host    part.Host
	deps    Deps
	running atomic.Pointer[alerts.Service]
}

// New returns the part.
func New(h part.Host, d Deps) *Part { return &Part{host: h, deps: d} }

// Name implements part.Part.
func (p *Part) Name() string { return name }

// desired is what the service is made of.
type desired struct {
	config.Alerts
	Site string
}

// Units implements part.Part.
func (p *Part) Units() []part.Unit {
	return []part.Unit{part.NewUnit(part.Spec[desired]{
		Name: name,
		Desired: func(_ context.Context, in part.Input) (desired, bool, error) {
			return desired{in.Config.Alerts, in.Config.Site.Name}, on(in.Config.Alerts), nil
		},
		Build: func(_ context.Context, d desired) (part.Run[desired], error) {
			s := alerts.New(d.service(), p.host.Paths().InState(stateFile), p.deps.Problems, p.host.Logger(name))
			return part.Run[desired]{Run: func(ctx context.Context) error {
				p.running.Store(s)
				defer p.running.CompareAndSwap(s, nil)
				return s.Run(ctx)
			}}, nil
		},
	})}
}

func on(a config.Alerts) bool { return len(a.Mail.To) > 0 || a.Webhook.URL != "" }

func (d desired) service() alerts.Config {
	host, _ := os.Hostname() // without a name it is the site's
	c := alerts.Config{ErrorsOnly: d.Severity == config.AlertError, Every: d.Every, Site: d.Site, Host: host}
	m := d.Mail
	server, port := m.Host()
	encryption := map[config.MailTLS]alerts.Encryption{config.MailSTARTTLS: alerts.STARTTLS, config.MailImplicit: alerts.Implicit, config.MailPlain: alerts.Plain}[m.TLS]
	for _, to := range m.To {
		c.Targets = append(c.Targets, alerts.Mail{
			To: to, From: m.From, Server: server, Port: port, Encryption: encryption, User: m.User, PasswordFile: m.PasswordFile,
		})
	}
	if w := d.Webhook; w.URL != "" {
		c.Targets = append(c.Targets, alerts.Webhook{URL: w.URL, TokenFile: w.TokenFile, Client: alerts.NewClient()})
	}
	return c
}

// Check implements part.Checker: secrets can be read.
func (p *Part) Check(_ context.Context, next part.Input) error {
	a := next.Config.Alerts
	var errs []error
	for _, f := range []struct{ key, path string }{{"alerts.mail.password_file", a.Mail.PasswordFile}, {"alerts.webhook.token_file", a.Webhook.TokenFile}} {
		if f.path == "" {
			continue
		}
		if _, err := alerts.ReadSecret(f.path); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.key, err))
		}
	}
	return errors.Join(errs...)
}

// Report implements part.Reporter.
func (p *Part) Report(*control.Status) []problem.Problem {
	s := p.running.Load()
	if s == nil {
		return nil
	}
	return problems(s.Failures())
}

func problems(failures []alerts.Failure) (out []problem.Problem) {
	for _, f := range failures {
		out = append(out, problem.Problem{
			ID: problem.AlertsNotDelivered, Severity: problem.Warning, Part: name, Subject: f.Target,
			What: fmt.Sprintf("%s was not told of a problem: %v", f.Target, f.Err),
			Fix:  "mend that; 'sae-agent alerts test' tries again at once",
		})
	}
	return out
}

// Operations implements part.Operator.
func (p *Part) Operations() []control.Handler {
	return []control.Handler{control.Handle(control.TestAlerts, p.test)}
}

func (p *Part) test(ctx context.Context, _ control.None) (out []control.AlertDelivery, err error) {
	s := p.running.Load()
	if s == nil {
		return nil, &control.Error{Code: http.StatusServiceUnavailable, Message: "nobody is told of problems: write alerts into the file, then sae-agent apply"}
	}
	results := s.Test(ctx)
	for _, target := range s.Targets() {
		d := control.AlertDelivery{Target: target}
		if err := results[target]; err != nil {
			d.Error = err.Error()
		}
		out = append(out, d)
	}
	return out, nil
}
