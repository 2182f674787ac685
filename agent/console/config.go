package console

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
)

// configPage is the operator's file, what an apply would change, and what was applied.
type configPage struct {
	Status  control.ConfigStatus
	May     bool // change it
	Text    string
	Before  string // hash of the file that the text was made from
	Checked bool
	Plan    *control.Plan
	Wrong   *failure
	History []control.Applied
}

func configuration(a asker) (any, error) {
	out, err := newConfigPage(a)
	if err != nil {
		return nil, err
	}
	if out.May {
		file, err := get(a, control.GetConfigFile, control.None{})
		if err != nil {
			f, _ := failureOf(err)
			out.Wrong = &f
		}
		out.Text, out.Before = file.Text, file.Hash
	}
	if out.Status.NotApplied {
		plan, err := get(a, control.GetPlan, control.None{})
		out.planned(plan, err)
	}
	return out, nil
}

func newConfigPage(a asker) (*configPage, error) {
	st, err := get(a, control.GetStatus, control.None{})
	if err != nil {
		return nil, err
	}
	out := &configPage{Status: st.Config, May: a.who.caller.Role.May(control.SaveConfig.Role)}
	out.History, err = get(a, control.ListHistory, control.None{})
	slices.Reverse(out.History)
	return out, err
}

func (p *configPage) planned(plan control.Plan, err error) {
	p.Checked = true
	if err != nil {
		f, _ := failureOf(err)
		p.Wrong = &f
		return
	}
	p.Plan = &plan
}

// change checks what somebody has written, or saves and applies it.
func (s *Server) change(w http.ResponseWriter, r *http.Request, v visit) {
	if !parseForm(w, r) {
		return
	}
	patient(w)
	text := control.ConfigText{Text: strings.ReplaceAll(r.PostForm.Get("text"), "\r\n", "\n"), Before: r.PostForm.Get("before")}
	a := asker{s, r, v}
	page, err := newConfigPage(a)
	if err != nil {
		s.showError(w, r, v, err)
		return
	}
	page.Text, page.Before = text.Text, text.Before
	if r.PostForm.Get("do") != "apply" {
		plan, err := get(a, control.CheckConfig, text)
		page.planned(plan, err)
		s.render(w, r, "configuration", v, http.StatusOK, page)
		return
	}
	confirm, err := time.ParseDuration(r.PostForm.Get("confirm"))
	if err != nil || confirm < 0 {
		confirm = 0
	}
	ctx, cancel := context.WithTimeout(s.base, doTime)
	defer cancel()
	_, err = control.Ask(ctx, s.src.Dispatcher, v.caller, control.SaveConfig, text)
	var plan control.Plan
	if err == nil {
		plan, err = control.Ask(ctx, s.src.Dispatcher, v.caller, control.ApplyConfig, control.ApplyOptions{Confirm: confirm})
	}
	if err != nil {
		page.planned(plan, err)
		_, code := failureOf(err)
		s.render(w, r, "configuration", v, code, page)
		return
	}
	notice := control.ApplyConfig.Order
	for _, b := range plan.Behind {
		notice += " – " + b.Part + ": " + b.Why
	}
	s.sessions.Notify(v.session, notice)
	http.Redirect(w, r, "/configuration", http.StatusSeeOther)
}
