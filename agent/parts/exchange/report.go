package exchange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/problem"
)

// stateAbsent and stateNone are said where there is no exchange to be in a state.
const (
	stateAbsent = "absent" // none on this machine
	stateNone   = "none"   // none that we watch
)

// Operations implements part.Operator.
func (p *Part) Operations() []control.Handler {
	return []control.Handler{
		control.Handle(control.ListExtensions, p.list),
		control.Handle(control.ListGroups, func(context.Context, control.None) ([]control.RingGroup, error) {
			return groupsOf(p.host.Running().Config), nil
		}),
		control.Handle(control.ListCalls, p.calls),
		control.Handle(control.GetPBX, func(context.Context, control.None) (control.PBXStatus, error) { return p.status(), nil }),
		control.Handle(control.RestartPBX, p.restart),
		control.Handle(control.PausePBX, p.pause),
		control.Handle(control.ResumePBX, p.resume),
	}
}

// Report implements part.Reporter.
func (p *Part) Report(st *control.Status) []problem.Problem {
	st.PBX = p.status()
	state, _ := p.State()
	return slices.Concat(
		problems(st.PBX), outcomeProblems(state.Outcome), freePBXProblems(p.freePBX.Load(), p.host.Running().Config),
		installationProblems(p.failedInstall.Load(), st.PBX.State),
	)
}

func (p *Part) list(context.Context, control.None) ([]control.ExtensionStatus, error) {
	st, watched := p.State()
	phonesOf := p.deps.PhonesOf()
	extensions := p.host.Running().Config.Extensions
	out := make([]control.ExtensionStatus, 0, len(extensions))
	for _, e := range extensions {
		line, there := st.Lines[e.Number]
		x := control.ExtensionStatus{Number: e.Number, Name: e.Name, Phones: []string{}, InExchange: there, InCall: line.InCall, Registrations: []control.Registration{}}
		for _, phone := range phonesOf(e.Number) {
			x.Phones = append(x.Phones, phone.MAC)
			x.Trouble = cmp.Or(x.Trouble, phone.Trouble)
		}
		for _, r := range line.Registrations {
			x.Registrations = append(x.Registrations, control.Registration{
				Address: r.Remote.Addr().String(), UserAgent: r.UserAgent, Reach: string(r.Reach), RoundTrip: r.RoundTrip, Expires: r.Expires,
			})
		}
		if watched && !there && !st.Observed.IsZero() {
			x.Trouble = cmp.Or(x.Trouble, "the exchange does not have it: see sae-agent pbx status")
		}
		out = append(out, x)
	}
	return out, nil
}

// groupsOf lists the groups with their members' names, and when they give up.
func groupsOf(cfg *config.Config) []control.RingGroup {
	out := []control.RingGroup{}
	for _, g := range cfg.Groups {
		x := control.RingGroup{Number: g.Number, Name: g.Name, Strategy: string(g.Strategy), Ring: g.Timeout, GivesUp: g.Timeout}
		if g.Strategy == config.GroupHunt {
			x.GivesUp *= time.Duration(len(g.Members))
		}
		for _, m := range g.Members {
			x.Members = append(x.Members, control.RingGroupMember{Number: m, Name: cfg.Extension(m).Name})
		}
		out = append(out, x)
	}
	return out
}

func (p *Part) calls(context.Context, control.None) (out control.Calls, err error) {
	r, err := p.watched()
	if err != nil {
		return out, err
	}
	return callsOf(r.State().Current, r.RecentCalls(), p.host.Running().Config), nil
}

// callsOf names who takes part in calls.
func callsOf(now, recent []pbx.Call, cfg *config.Config) control.Calls {
	out := control.Calls{Now: []control.PhoneCall{}, Recent: []control.PhoneCall{}}
	call := func(c pbx.Call, up, down string) control.PhoneCall {
		x := control.PhoneCall{
			From: c.From, FromName: cfg.Extension(c.From).Name, To: c.To, ToName: cfg.Extension(c.To).Name,
			State: down, Began: c.Began, Ended: c.Ended,
		}
		if c.Up {
			x.State = up
		}
		if !c.Answered.IsZero() && !c.Ended.IsZero() {
			x.Talked = c.Ended.Sub(c.Answered)
		}
		return x
	}
	for _, c := range now {
		out.Now = append(out.Now, call(c, "talking", "ringing"))
	}
	for _, c := range slices.Backward(recent) {
		out.Recent = append(out.Recent, call(c, "answered", "unanswered"))
	}
	return out
}

func (p *Part) status() control.PBXStatus {
	cfg := p.host.Running().Config
	out := control.PBXStatus{Driver: string(cfg.PBX.Driver), State: stateNone, Extensions: len(cfg.Extensions), Story: []control.PBXEvent{}}
	st, watched := p.State()
	if !watched {
		return out
	}
	h := st.Health
	out.State, out.Since, out.Why, out.Held, out.Restarts, out.Calls = string(h.State), h.Since, h.Why, h.Held, len(h.Restarts), st.Calls
	out.Paused, out.Waiting = st.Paused, st.Outcome.Waiting
	for _, u := range st.Outcome.Unserved {
		out.Unserved = append(out.Unserved, u.Number)
	}
	out.Changes = p.deps.Changes()
	for _, e := range h.Story {
		out.Story = append(out.Story, control.PBXEvent(e))
	}
	for _, e := range cfg.Extensions {
		if st.Lines[e.Number].Registered() {
			out.Registered++
		}
	}
	out.InLine = st.Outcome.ReadBack != nil && st.Outcome.Err == nil && !st.Outcome.At.IsZero()
	if err := st.Outcome.Err; err != nil {
		out.Error = err.Error()
		if errors.Is(err, pbx.ErrAbsent) {
			out.State = stateAbsent
		}
	}
	return out
}

// maxPause is how long the exchange may be left alone: a pause that was forgotten ends.
const maxPause = 24 * time.Hour

func (p *Part) pause(_ context.Context, o control.PauseOptions) (out control.Pause, err error) {
	if o.For <= 0 || o.For > maxPause {
		return out, &control.Error{Code: http.StatusBadRequest, Message: fmt.Sprintf("a pause lasts up to %v, not %v", maxPause, o.For)}
	}
	r, err := p.watched()
	if err != nil {
		return out, err
	}
	out.Until = time.Now().Add(o.For).Truncate(time.Second)
	r.Pause(out.Until)
	return out, nil
}

func (p *Part) resume(context.Context, control.None) (none control.None, err error) {
	r, err := p.watched()
	if err != nil {
		return none, err
	}
	r.Pause(time.Time{})
	return none, nil
}

// watched returns the service that runs; an error while none does.
func (p *Part) watched() (*running, error) {
	if r := p.running.Load(); r != nil {
		return r, nil
	}
	return nil, &control.Error{Code: http.StatusServiceUnavailable, Message: "no exchange is watched here (pbx.driver)"}
}

func (p *Part) restart(ctx context.Context, o control.RestartOptions) (none control.None, err error) {
	r, err := p.watched()
	if err != nil {
		return none, err
	}
	err = r.Restart(ctx, o.Force)
	if errors.Is(err, pbx.ErrCalls) {
		return none, &control.Error{Code: http.StatusConflict, Message: err.Error() + ": wait for their end, or add --force, which ends them"}
	}
	return none, err
}

// outcomeProblems says what a person must do for what was applied.
func outcomeProblems(o pbx.Outcome) []problem.Problem {
	out := slices.Clone(o.Problems)
	if o.RestartDue != "" {
		out = append(out, problem.Problem{
			ID: problem.PBXRestartDue, Severity: problem.Warning, Part: name, What: "the exchange must be restarted: " + o.RestartDue,
			Fix: "sae-agent pbx restart, when nobody telephones",
		})
	}
	if errors.Is(o.Err, pbx.ErrPaused) {
		out = append(out, problem.Problem{ID: problem.PBXPaused, Severity: problem.Warning, Part: name, What: o.Err.Error(), Fix: "it ends by itself; sae-agent pbx resume ends it now"})
	}
	return out
}

// problems says what is wrong with the exchange.
func problems(s control.PBXStatus) (out []problem.Problem) {
	add := func(id problem.ID, severity problem.Severity, what, fix string) {
		out = append(out, problem.Problem{ID: id, Severity: severity, Part: name, What: what, Fix: fix})
	}
	switch pbx.HealthState(s.State) {
	case stateNone, pbx.Starting, pbx.Well:
	case stateAbsent:
		add(problem.PBXAbsent, problem.Warning, "there is no exchange on this machine yet", "sae-agent pbx install brings one; or write pbx: {driver: none} when it is elsewhere")
		return out
	case pbx.NoManager:
		add(problem.PBXUnseen, problem.Warning, "the exchange lives, but cannot be looked into: "+s.Why, "see sae-agent pbx status")
	default:
		what, fix := "the exchange does not work ("+s.State+"): "+s.Why, "it is restarted by itself; sae-agent pbx status tells the story"
		if s.Held != "" {
			fix = "it is not restarted because " + s.Held + ": look at its log, then sae-agent pbx restart --force"
		}
		add(problem.PBXDown, problem.Error, what, fix)
	}
	if s.Error != "" && !strings.Contains(s.Error, pbx.ErrDown.Error()) && !strings.Contains(s.Error, pbx.ErrPaused.Error()) {
		add(problem.PBXNotInLine, problem.Error, "the exchange is not as the file says: "+s.Error, "do as it says; it is tried again by itself")
	}
	if s.Restarts > 0 && len(out) == 0 {
		last := s.Story[max(0, len(s.Story)-3):]
		var words []string
		for _, e := range last {
			words = append(words, e.At.Local().Format("15:04:05")+" "+e.What)
		}
		add(problem.PBXRestarted, problem.Warning, "the exchange had to be restarted: "+strings.Join(words, ", "), "look at its log (/var/log/asterisk); this goes away after 15 minutes")
	}
	return out
}
