package console

import (
	"net/http"
	"strings"

	"github.com/sae-agent/sae-agent/agent/console/account"
)

// secondFactor is what the page of a second factor shows: a new secret for an account that has none.
type secondFactor struct {
	Enabled                bool
	Secret, Address, Error string
}

// codeOf returns the code of an authenticator app, which people may have typed in groups.
func codeOf(r *http.Request) string {
	return strings.ReplaceAll(strings.TrimSpace(r.PostFormValue("code")), " ", "")
}

func (s *Server) secondFactorPage(w http.ResponseWriter, r *http.Request, v visit) {
	a, _ := s.src.Accounts.Get(v.caller.Name)
	f := secondFactor{Enabled: a.SecondFactor}
	if !f.Enabled {
		var err error
		if f.Secret, f.Address, err = account.NewSecondFactor(s.cfg.Site, v.caller.Name); err != nil {
			s.showError(w, r, v, err)
			return
		}
	}
	s.render(w, r, "second-factor", v, http.StatusOK, f)
}

// setSecondFactor begins to ask for codes, or, for an account that does, ends it.
func (s *Server) setSecondFactor(w http.ResponseWriter, r *http.Request, v visit) {
	if !parseForm(w, r) {
		return
	}
	password, secret := r.PostFormValue("password"), r.PostFormValue("secret")
	var a account.Account
	var err error
	if secret != "" {
		a, err = s.src.Accounts.EnableSecondFactor(r.Context(), v.caller.Name, password, secret, codeOf(r), v.caller.Address)
	} else {
		a, err = s.src.Accounts.DisableSecondFactor(r.Context(), v.caller.Name, password, codeOf(r), v.caller.Address)
	}
	if err != nil {
		f := secondFactor{Enabled: secret == "", Secret: secret, Error: err.Error()}
		f.Address = account.SecondFactorAddress(s.cfg.Site, v.caller.Name, secret)
		s.render(w, r, "second-factor", v, http.StatusUnprocessableEntity, f)
		return
	}
	s.log.Info("second factor changed", "by", a.Name, "enabled", a.SecondFactor, "address", v.caller.Address)
	s.begin(w, r, a)
	http.Redirect(w, r, "/settings", http.StatusSeeOther)
}
