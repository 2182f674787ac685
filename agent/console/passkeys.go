package console

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/sae-agent/sae-agent/agent/console/account"
	"github.com/sae-agent/sae-agent/agent/console/passkey"
	"github.com/sae-agent/sae-agent/agent/control"
)

// passkeyCookie has the secret of the browser that is asked for a passkey.
const passkeyCookie = "__Host-sae-passkey"

// passkeyQuestion is what the page shows that has a browser ask for a passkey.
type passkeyQuestion struct {
	New                         bool // a passkey is made
	Options, Action, Next, Back string
}

// passkeyPlace returns where a page was asked for, if passkeys can work there: under a name of ours that the certificate
// has, and at our port. Another port of this machine is another program's.
func (s *Server) passkeyPlace(r *http.Request) (passkey.Place, bool) {
	host, port := hostOf(r)
	name := s.ourName(host)
	at, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if name == "" || !ok || port != strconv.Itoa(at.Port) {
		return passkey.Place{}, false
	}
	cert, err := s.src.Certificate()
	if err != nil || cert.Leaf == nil || cert.Leaf.VerifyHostname(name) != nil {
		return passkey.Place{}, false
	}
	origin := "https://" + name
	if port != "443" {
		origin = "https://" + net.JoinHostPort(name, port)
	}
	return passkey.Place{Host: name, Origin: origin}, true
}

// errNoPasskeys is said where passkeys cannot work.
var errNoPasskeys = errors.New("passkeys work only where the console was asked for by a name that its certificate has")

// askPasskey has a browser ask for the passkey of whoever logs in.
func (s *Server) askPasskey(w http.ResponseWriter, r *http.Request) {
	if !parseForm(w, r) {
		return
	}
	next := local(r.PostFormValue("next"))
	at, ok := s.passkeyPlace(r)
	if !ok {
		s.showLogin(w, r, http.StatusUnprocessableEntity, loginForm{Next: next, Error: errNoPasskeys.Error()})
		return
	}
	from, _ := remote(r)
	secret, options, err := s.passkeys.AskLogin(at, from.String())
	if err != nil {
		s.showError(w, r, visit{}, err)
		return
	}
	setCookie(w, passkeyCookie, secret, int(passkey.AnswerTime.Seconds()))
	s.render(w, r, "passkey", visit{}, http.StatusOK, passkeyQuestion{Options: options, Action: "/login/passkey/answer", Next: next, Back: "/login"})
}

// takeSecret returns the secret of the browser, which has done its service.
func takeSecret(w http.ResponseWriter, r *http.Request) string {
	c, err := r.Cookie(passkeyCookie)
	if err != nil {
		return ""
	}
	setCookie(w, passkeyCookie, "", -1)
	return c.Value
}

// loginPasskey logs in whose passkey has answered.
func (s *Server) loginPasskey(w http.ResponseWriter, r *http.Request) {
	if !parseForm(w, r) {
		return
	}
	f := loginForm{Next: local(r.PostFormValue("next"))}
	from, _ := remote(r)
	at, _ := s.passkeyPlace(r)
	answer := s.passkeys.Login(takeSecret(w, r), at, r.PostFormValue("answer"))
	a, used, err := s.src.Accounts.LoginPasskey(answer.Handle, from.String(), answer.Verify)
	if err != nil {
		s.log.Warn("login with a passkey refused", "account", a.Name, "passkey", used.Name, "address", from.String(), "err", err)
		f.Error = passkeyError(err).Error()
		s.showLogin(w, r, refusal(err), f)
		return
	}
	s.src.Dispatcher.Note(control.Caller{Name: a.Name, Role: a.Role, Address: from.String()}, "log in with passkey", used.Name)
	s.begin(w, r, a)
	http.Redirect(w, r, f.Next, http.StatusSeeOther)
}

// passkeyError is what a person is told of an error, whose reason is in the log.
func passkeyError(err error) error {
	for _, known := range []error{account.ErrPasskey, account.ErrCopied, account.ErrTooOften, passkey.ErrExpired} {
		if errors.Is(err, known) {
			return known
		}
	}
	return err
}

// askNewPasskey has a browser make a passkey for who is logged in and knows the password.
func (s *Server) askNewPasskey(w http.ResponseWriter, r *http.Request, v visit) {
	if !parseForm(w, r) {
		return
	}
	secret, options, err := s.newPasskey(r, v)
	if err != nil {
		s.showError(w, r, v, &control.Error{Code: http.StatusUnprocessableEntity, Message: passkeyError(err).Error()})
		return
	}
	setCookie(w, passkeyCookie, secret, int(passkey.AnswerTime.Seconds()))
	s.render(w, r, "passkey", v, http.StatusOK, passkeyQuestion{New: true, Options: options, Action: "/passkeys/answer", Back: "/settings"})
}

func (s *Server) newPasskey(r *http.Request, v visit) (secret, options string, err error) {
	at, ok := s.passkeyPlace(r)
	if !ok {
		return "", "", errNoPasskeys
	}
	a, err := s.src.Accounts.Login(r.Context(), v.caller.Name, r.PostFormValue("password"), codeOf(r), v.caller.Address)
	if err != nil {
		return "", "", err
	}
	return s.passkeys.AskNew(at, v.caller.Address, a, strings.TrimSpace(r.PostFormValue("name")))
}

// addPasskey keeps the passkey that a browser has made.
func (s *Server) addPasskey(w http.ResponseWriter, r *http.Request, v visit) {
	if !parseForm(w, r) {
		return
	}
	at, _ := s.passkeyPlace(r)
	made, err := s.passkeys.Made(takeSecret(w, r), at, r.PostFormValue("answer"))
	if err == nil && made.Account != v.caller.Name {
		err = passkey.ErrExpired
	}
	if err == nil {
		err = s.src.Accounts.AddPasskey(made.Account, made.Epoch, made.Handle, made.Passkey)
	}
	if err != nil {
		s.log.Warn("passkey refused", "account", v.caller.Name, "address", v.caller.Address, "err", err)
		s.showError(w, r, v, &control.Error{Code: http.StatusUnprocessableEntity, Message: passkeyError(err).Error()})
		return
	}
	s.src.Dispatcher.Note(v.caller, "add passkey", made.Passkey.Name)
	s.sessions.Notify(v.session, "add passkey")
	http.Redirect(w, r, "/settings", http.StatusSeeOther)
}

func (s *Server) removePasskey(w http.ResponseWriter, r *http.Request, v visit) {
	if !parseForm(w, r) {
		return
	}
	a, removed, err := s.src.Accounts.RemovePasskey(r.Context(), v.caller.Name, r.PostFormValue("password"), codeOf(r), r.PostFormValue("key"), v.caller.Address)
	if err != nil {
		s.showError(w, r, v, &control.Error{Code: http.StatusUnprocessableEntity, Message: err.Error()})
		return
	}
	s.src.Dispatcher.Note(v.caller, "remove passkey", removed.Name)
	s.begin(w, r, a)
	http.Redirect(w, r, "/settings", http.StatusSeeOther)
}
