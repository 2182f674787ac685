package pbx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/pbx/ami"
	"github.com/sae-agent/sae-agent/internal/pause"
)

// applyLoop makes the exchange as it should be: at once when that changes or the exchange comes up, after a while
// when it failed, and now and then.
func (s *Service) applyLoop(ctx context.Context) {
	s.awaitManager(ctx)
	delay := retryFirst
	for {
		err := s.applyOnce(ctx)
		wait := applyEvery
		if o := s.State().Outcome; len(o.Waiting) > 0 || o.RestartDue != "" {
			wait = retryMax
		}
		switch {
		case err == nil:
			delay = retryFirst
		case errors.Is(err, ErrDown): // tried again when it comes up
		case errors.Is(err, ErrPaused):
			wait = pausePoll
		default:
			wait = delay
			delay = min(2*delay, retryMax)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.apply.C():
		case <-time.After(wait):
		}
	}
}

// awaitManager waits until it is known whether the manager interface answers: a first attempt before that would
// find the exchange down.
func (s *Service) awaitManager(ctx context.Context) {
	for deadline := time.Now().Add(firstAnswer); time.Now().Before(deadline); {
		if st := s.client.Status(); st.Up || st.Err != nil || !pause.For(ctx, 10*time.Millisecond) {
			return
		}
	}
}

// applyOnce makes the exchange as it should be, and reads back what it runs with then: that alone counts.
func (s *Service) applyOnce(ctx context.Context) error {
	s.mu.Lock()
	want, waiting := s.postpone(time.Now())
	version, paused := s.version, s.record.Paused
	s.mu.Unlock()
	if time.Now().Before(paused) {
		return s.conclude(version, Outcome{Err: fmt.Errorf("pbx: %w until %s", ErrPaused, clock(paused))}, nil)
	}
	s.driven.Lock()
	began, wasUp := time.Now(), s.client.Status().Up
	changes, err := s.driver.Apply(ctx, want)
	running, readErr := s.readBack(ctx, wasUp)
	s.driven.Unlock()
	if ctx.Err() != nil {
		return nil
	}
	o := Outcome{Changes: changes, Waiting: waiting}
	switch {
	case readErr != nil && (err == nil || errors.Is(err, ErrDown)):
		err = cmp.Or(err, fmt.Errorf("pbx: %w: what it runs with cannot be read back: %w", ErrDown, readErr))
	case readErr == nil:
		if o.Unserved = unserved(want, running); len(o.Unserved) > 0 {
			err = errors.Join(err, unservedError(o.Unserved))
		}
	}
	o.Err = err
	s.deps.OnApply(time.Since(began), err)
	for _, c := range changes {
		s.log.Info("exchange changed", "change", c.String())
	}
	if readErr == nil {
		var seen Inspection
		if d, ok := s.driver.(Inspector); ok {
			seen = d.Inspect(ctx, want)
		}
		o.RestartDue, o.Problems = s.restartDue(ctx, want, seen.RestartDue), seen.Problems
		if s.mayRestart(o.RestartDue) {
			why := o.RestartDue
			o.RestartDue = ""
			defer func() { _ = s.restart(ctx, why, true) }() // the next attempt, once it is up again, says how that went
		}
		s.mu.Lock()
		before := s.state.Outcome.ReadBack
		s.mu.Unlock()
		o.ReadBack = accountsInForce(before, want, running)
		s.noteChanged(before, o, began)
		s.remember(func(r *record) {
			r.Secrets = secretsOf(o.ReadBack)
			r.Expel = changedSecrets(r.Expel, secretsOf(before), r.Secrets)
		})
		if expelErr := s.expel(ctx); expelErr != nil {
			err = errors.Join(err, expelErr)
			o.Err = err
		}
	}
	return s.conclude(version, o, running)
}

// conclude notes how an attempt went.
func (s *Service) conclude(version int, o Outcome, running map[string]Account) error {
	s.mu.Lock()
	before := s.state.Outcome
	o.At = time.Now()
	if running == nil {
		o.ReadBack, o.RestartDue, o.Problems = before.ReadBack, before.RestartDue, before.Problems
	}
	if len(o.Changes) == 0 && s.tried == version {
		o.Changes = before.Changes
	}
	s.state.Outcome = o
	s.tried = version
	close(s.settled)
	s.settled = make(chan struct{})
	s.mu.Unlock()
	err := o.Err
	if err != nil && (before.Err == nil || before.Err.Error() != err.Error()) {
		s.log.Error("the exchange is not as it should be", "err", err)
	}
	if o.RestartDue != "" && before.RestartDue == "" {
		s.apply.Notify() // by then it is known whether anybody telephones with it
	}
	if err != nil || len(o.Changes) > 0 || before.At.IsZero() || before.Err != nil || o.RestartDue != before.RestartDue {
		s.dirty.Notify()
		s.probe.Notify()
		s.deps.OnChange()
	}
	return err
}

// noteChanged notes whose secret an attempt that began then has changed.
func (s *Service) noteChanged(before *Desired, o Outcome, began time.Time) {
	numbers := changedSecrets(nil, secretsOf(before), secretsOf(o.ReadBack))
	if len(numbers) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := maps.Clone(s.state.Changed)
	if changed == nil {
		changed = make(map[string]time.Time)
	}
	for _, n := range numbers {
		changed[n] = began
	}
	for _, c := range o.Changes {
		if n, ok := strings.CutPrefix(c.What, "extension "); ok && !c.Since.IsZero() && slices.Contains(numbers, n) {
			changed[n] = c.Since
		}
	}
	s.state.Changed = changed
}

// readBack asks Asterisk what it runs with. Where we were connected before the change, or are refused, the answer is
// waited for: FreePBX's reload may have an account of manager_custom.conf refused once.
func (s *Service) readBack(ctx context.Context, wasUp bool) (running map[string]Account, err error) {
	for deadline := time.Now().Add(readTime); ; {
		running, err = Accounts(ctx, s.client)
		comes := errors.Is(err, ami.ErrNotConnected) && (wasUp || errors.Is(err, ami.ErrRefused))
		if !comes || time.Now().After(deadline) || !pause.For(ctx, readPause) {
			return running, err
		}
	}
}

// postpone returns what is wanted now: a secret stays the old one as long as a call goes on, for callTime at most. A phone
// is not asked to fetch its file during a call, and would be without its secret until then. The caller holds s.mu.
func (s *Service) postpone(now time.Time) (want Desired, waiting []string) {
	want = s.want
	had := secretsOf(s.state.Outcome.ReadBack)
	since := make(map[string]time.Time)
	want.Extensions = slices.Clone(want.Extensions)
	for i, e := range want.Extensions {
		old, there := had[e.Number]
		if !there || old == e.Secret.Reveal() || !s.state.Lines[e.Number].InCall {
			continue
		}
		first, waits := s.waiting[e.Number]
		if !waits {
			first = now
		}
		since[e.Number] = first
		if now.Sub(first) < callTime {
			want.Extensions[i].Secret = Secret(old)
			waiting = append(waiting, e.Number)
		}
	}
	s.waiting = since
	return want, waiting
}

// restartDue says why the exchange must be restarted for what it should be. The driver may know a reason.
func (s *Service) restartDue(ctx context.Context, want Desired, why string) string {
	if slices.ContainsFunc(want.Extensions, func(e Extension) bool { return e.Voicemail }) {
		if works, err := voicemailWorks(ctx, s.client); err == nil && !works {
			return "its voice mail has not come up: " + want.Voicemail + " is dead"
		}
	}
	return why
}

// mayRestart reports whether we restart the exchange unasked: as long as nobody has ever telephoned with
// it. Later that is for a person to decide.
func (s *Service) mayRestart(why string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	used := s.record.Registered || s.state.Observed.IsZero() || s.state.Calls > 0
	return why != "" && !used && s.deps.Restart != nil && time.Since(s.doctor.started) >= restartWindow
}

// observeLoop observes the exchange after events, and every observeEvery.
func (s *Service) observeLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.dirty.C():
		case <-time.After(observeEvery):
		}
		if !pause.For(ctx, observeDelay) {
			return
		}
		s.observeOnce(ctx)
		if !pause.For(ctx, observePause) {
			return
		}
	}
}

func (s *Service) observeOnce(ctx context.Context) {
	if !s.client.Status().Up {
		return
	}
	now, err := observe(ctx, s.client, time.Now())
	if err != nil {
		s.log.Debug("cannot observe the exchange", "err", err)
		return
	}
	s.mu.Lock()
	before := s.state
	used := s.record.Registered
	s.state.Lines, s.state.Calls, s.state.Current, s.state.Observed = now.lines, now.calls, now.now, now.at
	ours, lent := s.want.accounts(), s.want.lent()
	s.mu.Unlock()
	changed := before.Calls != now.calls
	for _, number := range slices.Sorted(maps.Keys(now.lines)) {
		was, is := before.Lines[number], now.lines[number]
		used = used || is.Registered() && !lent[number]
		if ours[number] && s.logRegistrations(number, was, is) {
			changed = true
		}
		if was.InCall && !is.InCall && slices.Contains(before.Outcome.Waiting, number) {
			s.apply.Notify()
		}
		changed = changed || was.InCall != is.InCall || was.State != is.State
	}
	s.remember(func(r *record) { r.Registered = used })
	if before.Observed.IsZero() {
		s.apply.Notify() // it is known now whether anybody telephones with it
	}
	if changed || before.Observed.IsZero() {
		s.probe.Notify()
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

// lent are the numbers of accounts that are lent for a test.
func (d Desired) lent() map[string]bool {
	out := make(map[string]bool)
	for _, e := range d.Extensions {
		if e.Lent {
			out[e.Number] = true
		}
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

// probeLoop finds out whether the exchange lives, and restarts it when it does not.
func (s *Service) probeLoop(ctx context.Context) {
	for {
		if s.probeOnce(ctx) {
			// The doctor knows that it was tried; its error is in the story.
			_ = s.restart(ctx, "it was not well", false)
		}
		wait := probeEvery
		if s.State().Health.State != Well {
			wait = probeUnwell
		}
		select {
		case <-ctx.Done():
			return
		case <-s.probe.C():
		case <-time.After(wait):
		}
	}
}

// probeOnce reports whether the exchange should be restarted now.
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
	p.calls, p.stopped, p.paused = s.state.Calls, s.record.Stopped, s.record.Paused
	before := s.doctor.health
	restart := s.doctor.update(time.Now(), p) && s.deps.Restart != nil
	s.doctor.health.Why = why(p, manager.Err, sip)
	s.state.Health = s.doctor.health
	s.mu.Unlock()
	s.remember(func(r *record) {
		if manager.Up && manager.Since.After(r.Stopped) { // while it ends it answers still
			r.Stopped = time.Time{}
		}
	})
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
		if _, there := s.state.Lines[e.Number]; there || s.state.Observed.IsZero() && s.state.Outcome.ReadBack != nil {
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

// restart restarts the exchange. One that was ordered, by a person or by us, is no sign of trouble.
func (s *Service) restart(ctx context.Context, why string, ordered bool) error {
	s.log.Warn("restarting the exchange", "why", why)
	ctx, cancel := context.WithTimeout(ctx, restartTime)
	defer cancel()
	s.setOurs(true)
	err := s.deps.Restart(ctx)
	s.setOurs(false)
	outcome := "done"
	if err != nil {
		outcome = "failed"
		err = fmt.Errorf("pbx: start the exchange: %w", err)
		s.log.Error("the exchange could not be started", "err", err)
	}
	s.stats.restarts.WithLabelValues(outcome).Inc()
	s.mu.Lock()
	s.doctor.restarted(time.Now(), why, ordered, err)
	s.record.Stopped = time.Time{}
	s.state.Health = s.doctor.health
	s.mu.Unlock()
	s.deps.OnChange()
	s.probe.Notify()
	return err
}

func (s *Service) setOurs(ours bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ours = ours
}
