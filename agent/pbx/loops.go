package pbx

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sae-agent/sae-agent/agent/pbx/ami"
)

// keepApplied makes the exchange as it should be: at once when that changes or the exchange comes up, after a while
// when it failed, and now and then.
func (s *Service) keepApplied(ctx context.Context) {
	s.awaitManager(ctx)
	delay := retryFirst
	for {
		err := s.applyOnce(ctx)
		wait := applyEvery
		switch {
		case err == nil:
			delay = retryFirst
		case errors.Is(err, ErrDown): // tried again when it comes up
		default:
			wait = delay
			delay = min(2*delay, retryMax)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.apply:
		case <-time.After(wait):
		}
	}
}

// awaitManager waits until it is known whether the manager interface answers: a first attempt before that would be
// told that the exchange is down.
func (s *Service) awaitManager(ctx context.Context) {
	for deadline := time.Now().Add(firstAnswer); time.Now().Before(deadline); {
		if st := s.client.Status(); st.Up || st.Err != nil || !sleep(ctx, 10*time.Millisecond) {
			return
		}
	}
}

func (s *Service) applyOnce(ctx context.Context) error {
	s.mu.Lock()
	want, version := s.want, s.version
	s.mu.Unlock()
	s.driven.Lock()
	began := time.Now()
	changes, err := s.driver.Apply(ctx, want)
	s.driven.Unlock()
	if ctx.Err() != nil {
		return nil
	}
	s.deps.OnApply(time.Since(began), err)
	for _, c := range changes {
		s.log.Info("exchange changed", "change", c.String())
	}
	s.mu.Lock()
	before := s.state.Outcome
	o := Outcome{At: time.Now(), Changes: changes, Err: err, InLine: inLine(before.InLine, want, changes, err)}
	if len(changes) == 0 && s.tried == version {
		o.Changes = before.Changes
	}
	s.state.Outcome = o
	s.tried = version
	close(s.settled)
	s.settled = make(chan struct{})
	s.mu.Unlock()
	if err != nil && (before.Err == nil || before.Err.Error() != err.Error()) {
		s.log.Error("the exchange is not as it should be", "err", err)
	}
	if err != nil || len(changes) > 0 || before.At.IsZero() || before.Err != nil {
		poke(s.dirty)
		poke(s.probe)
		s.deps.OnChange()
	}
	return err
}

// inLine is what the exchange is known to have after an attempt.
func inLine(before *Desired, want Desired, changes []Change, err error) *Desired {
	switch {
	case err == nil:
		return &want
	case before == nil:
		return nil
	}
	done := make(map[string]bool)
	for _, c := range changes {
		done[c.What] = !c.Waits
	}
	after := *before
	after.Extensions = nil
	for _, e := range before.Extensions {
		if !done["extension "+e.Number] {
			after.Extensions = append(after.Extensions, e)
		}
	}
	for _, e := range want.Extensions {
		if done["extension "+e.Number] {
			after.Extensions = append(after.Extensions, e)
		}
	}
	return &after
}

// keepLooking looks at the exchange after events, and now and then.
func (s *Service) keepLooking(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.dirty:
		case <-time.After(lookEvery):
		}
		if !sleep(ctx, lookDelay) {
			return
		}
		s.lookOnce(ctx)
		if !sleep(ctx, lookPause) {
			return
		}
	}
}

func (s *Service) lookOnce(ctx context.Context) {
	if !s.client.Status().Up {
		return
	}
	now, err := lookAt(ctx, s.client, time.Now())
	if err != nil {
		s.log.Debug("cannot look at the exchange", "err", err)
		return
	}
	s.mu.Lock()
	before := s.state
	s.state.Lines, s.state.Calls, s.state.Looked = now.lines, now.calls, now.at
	ours := s.want.accounts()
	s.mu.Unlock()
	changed := before.Calls != now.calls
	for _, number := range slices.Sorted(maps.Keys(now.lines)) {
		was, is := before.Lines[number], now.lines[number]
		if ours[number] && s.logRegistrations(number, was, is) {
			changed = true
		}
		changed = changed || was.InCall != is.InCall || was.State != is.State
	}
	if changed || before.Looked.IsZero() {
		poke(s.probe)
		s.deps.OnChange()
	}
}

// accounts are the numbers that we make.
func (d Desired) accounts() map[string]bool {
	out := make(map[string]bool, len(d.Extensions)+1)
	for _, e := range d.Extensions {
		out[e.Number] = true
	}
	if d.Gateway != nil {
		out[d.Gateway.Number] = true
	}
	return out
}

// logRegistrations logs who came and who went, and reports whether there was one.
func (s *Service) logRegistrations(number string, was, is Line) bool {
	had := make(map[string]Registration)
	for _, r := range was.Registrations {
		had[r.URI] = r
	}
	changed := false
	for _, r := range is.Registrations {
		if _, ok := had[r.URI]; !ok {
			changed = true
			s.deps.OnRegistered(r)
			s.log.Info("registered", "extension", number, "address", r.Remote.Addr(), "user_agent", r.UserAgent)
		}
		delete(had, r.URI)
	}
	for _, uri := range slices.Sorted(maps.Keys(had)) {
		changed = true
		s.log.Info("registration ended", "extension", number, "address", had[uri].Remote.Addr(), "user_agent", had[uri].UserAgent)
	}
	return changed
}

// keepProbing finds out whether the exchange lives, and has it started anew when it does not.
func (s *Service) keepProbing(ctx context.Context) {
	for {
		if s.probeOnce(ctx) {
			// The doctor knows that it was tried; its error is in the story.
			_ = s.restart(ctx, "it was not well")
		}
		wait := probeEvery
		if s.State().Health.State != Well {
			wait = probeIll
		}
		select {
		case <-ctx.Done():
			return
		case <-s.probe:
		case <-time.After(wait):
		}
	}
}

// probeOnce reports whether the exchange should be started anew now.
func (s *Service) probeOnce(ctx context.Context) bool {
	if errors.Is(s.State().Outcome.Err, ErrAbsent) {
		return false // there is nothing that could be started
	}
	manager := s.client.Status()
	sip := s.askSIP(ctx)
	if ctx.Err() != nil {
		return false
	}
	p := probe{manager: manager.Up, refused: errors.Is(manager.Err, ami.ErrRefused), sip: sip == nil, process: s.deps.Process == nil || s.deps.Process()}
	s.mu.Lock()
	p.calls = s.state.Calls
	before := s.doctor.health
	restart := s.doctor.see(time.Now(), p) && s.deps.Restart != nil
	s.doctor.health.Why = why(p, manager.Err, sip)
	s.state.Health = s.doctor.health
	s.mu.Unlock()
	if before.State != s.State().Health.State || before.Held != s.State().Health.Held {
		s.logHealth(s.State().Health)
		s.deps.OnChange()
	}
	return restart
}

// askSIP returns nil when SIP answers. Where no account is wanted there is nothing to ask about.
func (s *Service) askSIP(ctx context.Context) error {
	if account := s.probeAccount(); account != "" {
		return askOptions(ctx, s.deps.Dial, s.deps.SIP, account)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.want.Extensions) == 0 && s.client.Status().Up {
		return nil
	}
	return errNobody
}

var errNobody = errors.New("the exchange has no account yet to be asked about")

// probeAccount is an account that the exchange has, as far as is known; empty: none.
func (s *Service) probeAccount() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.want.Extensions {
		if _, there := s.state.Lines[e.Number]; there || s.state.Looked.IsZero() && s.state.Outcome.InLine != nil {
			return e.Number
		}
	}
	return ""
}

func why(p probe, manager, sip error) string {
	switch {
	case p.manager && p.sip:
		return ""
	case !p.manager && !p.sip && !p.process:
		return "no process of the exchange is there"
	case !p.manager:
		if manager == nil {
			return "its manager interface does not answer yet"
		}
		return manager.Error()
	}
	return sip.Error()
}

func (s *Service) logHealth(h Health) {
	args := []any{"state", string(h.State)}
	if h.Why != "" {
		args = append(args, "why", h.Why)
	}
	if h.Held != "" {
		args = append(args, "not_started_since", h.Held)
	}
	if h.State == Well {
		s.log.Info("the exchange is well", args...)
		return
	}
	s.log.Warn("the exchange is not well", args...)
}

func (s *Service) restart(ctx context.Context, why string) error {
	s.log.Warn("starting the exchange anew", "why", why)
	ctx, cancel := context.WithTimeout(ctx, restartTime)
	defer cancel()
	err := s.deps.Restart(ctx)
	outcome := "done"
	if err != nil {
		outcome = "failed"
		err = fmt.Errorf("pbx: start the exchange: %w", err)
		s.log.Error("the exchange could not be started", "err", err)
	}
	s.stats.restarts.WithLabelValues(outcome).Inc()
	s.mu.Lock()
	s.doctor.restarted(time.Now(), why, err)
	s.state.Health = s.doctor.health
	s.mu.Unlock()
	s.deps.OnChange()
	poke(s.probe)
	return err
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
