package provisioning

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/internal/pause"
)

const (
	adoptionName = "adoption"
	// adoptEvery bounds how fast unknown phones get extensions that have to be made: each changes the operator's file.
	adoptEvery = 2 * time.Second
	// adoptionsWaiting bounds the phones that wait for one. Others ask again.
	adoptionsWaiting = 64
)

// window is when unknown phones get extensions by themselves, and which.
type window struct {
	Until   time.Time
	Numbers config.NumberRange
}

// adoptions are unknown phones for which an extension has to be made.
type adoptions struct {
	due chan net.HardwareAddr

	mu      sync.Mutex
	refused string // why the last one got none; empty: it got one
}

func newAdoptions() *adoptions {
	return &adoptions{due: make(chan net.HardwareAddr, adoptionsWaiting)}
}

// ask notes a phone. It never waits.
func (a *adoptions) ask(mac net.HardwareAddr) {
	select {
	case a.due <- mac:
	default: // it fetches its file again
	}
}

func (a *adoptions) note(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused = ""
	if err != nil {
		a.refused = err.Error()
	}
}

// problems says why the last phone got no extension.
func (a *adoptions) problems() []problem.Problem {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refused == "" {
		return nil
	}
	return []problem.Problem{{
		ID: problem.PhonesPending, Severity: problem.Warning, Part: "phones", Subject: "auto", What: fmt.Sprintf("unknown phones get no extension by themselves: %s", a.refused),
		Fix: "mend that, or give each one a line by sae-agent phones approve MAC",
	}}
}

// adoptionUnit gives unknown phones extensions, inside the window.
func (p *Part) adoptionUnit() part.Unit {
	return part.NewUnit(part.Spec[window]{
		Name: adoptionName,
		Desired: func(_ context.Context, in part.Input) (window, bool, error) {
			pr := in.Config.Provisioning
			return window{pr.Until, pr.ExtensionRange}, pr.UnknownPhones == config.UnknownAuto && time.Now().Before(pr.Until), nil
		},
		Build: func(_ context.Context, w window) (part.Run[window], error) {
			p.adoptions.note(nil)
			return part.Run[window]{Run: func(ctx context.Context) error { return p.adoptAll(ctx, w) }}, nil
		},
	})
}

func (p *Part) adoptAll(ctx context.Context, w window) error {
	for {
		select {
		case <-ctx.Done():
			p.adoptions.note(nil)
			return nil
		case mac := <-p.adoptions.due:
			err := p.adopt(ctx, mac, w, time.Now())
			if err != nil {
				p.log.Warn("an unknown phone gets no extension", "mac", mac.String(), "err", err)
			}
			p.adoptions.note(err)
			pause.For(ctx, adoptEvery)
		}
	}
}

// adopt makes an extension for a phone that has none, and writes both into the file.
func (p *Part) adopt(ctx context.Context, mac net.HardwareAddr, w window, now time.Time) error {
	c := p.host.Running().Config
	if !now.Before(w.Until) || c.Phone(mac).MAC != nil || p.phones.NumberOf(mac) != "" {
		return nil // over, or done meanwhile
	}
	number, err := p.freeIn(c, w.Numbers)
	if err != nil {
		return err
	}
	_, err = p.add(ctx, control.NewPhone{MAC: mac.String(), Extension: number})
	return err
}

// freeIn returns the first number of a range that nothing has.
func (p *Part) freeIn(c *config.Config, r config.NumberRange) (string, error) {
	taken := takenNumbers(c)
	for _, mac := range p.phones.Approved() {
		taken[p.phones.NumberOf(mac)] = true
	}
	first, err := strconv.ParseUint(r.First, 10, 63)
	if err != nil {
		return "", fmt.Errorf("extension_range %s: %w", r, err)
	}
	number, ok := firstFree(taken, first, r.Last)
	if !ok {
		return "", fmt.Errorf("no number of provisioning.extension_range %s is free", r)
	}
	return number, nil
}
