package console

import (
	"embed"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/console/account"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/translate"
	"github.com/sae-agent/sae-agent/packaging"
)

const (
	// apiPrefix is where the API is.
	apiPrefix = "/api" + control.Prefix
	// cookieName begins with __Host-: browsers take it over HTTPS only, for this host
	// alone (RFC 6265bis section 4.1.3).
	cookieName = "__Host-sae"
	// maxForm is how long a form may be: a configuration of a thousand phones.
	maxForm = 1 << 20
	// schemaFile is the asset that says what the configuration's keys mean.
	schemaFile = "config.schema.json"
	// slowTime is how long a client may take nothing of an answer.
	slowTime = 30 * time.Second
)

//go:embed static
var static embed.FS

// Handler returns all routes, behind what keeps strangers out.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(apiPrefix+"/", s.api())
	mux.HandleFunc("GET /api/openapi.json", s.openAPI)
	mux.HandleFunc("GET /static/{version}/{file}", s.asset)
	mux.HandleFunc("GET /favicon.ico", s.icon)
	mux.HandleFunc("GET /login", s.loginPage)
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /login/passkey", s.askPasskey)
	mux.HandleFunc("POST /login/passkey/answer", s.loginPasskey)
	mux.HandleFunc("GET /invite/{secret}", s.invitePage)
	mux.HandleFunc("POST /invite/{secret}", s.acceptInvitation)
	mux.HandleFunc("POST /logout", s.logout)
	mux.HandleFunc("POST /password", s.member(s.setPassword))
	mux.HandleFunc("POST /language", s.member(s.setLanguage))
	mux.HandleFunc("GET /second-factor", s.member(s.secondFactorPage))
	mux.HandleFunc("POST /second-factor", s.member(s.setSecondFactor))
	mux.HandleFunc("POST /passkeys", s.member(s.askNewPasskey))
	mux.HandleFunc("POST /passkeys/answer", s.member(s.addPasskey))
	mux.HandleFunc("POST /passkeys/remove", s.member(s.removePasskey))
	mux.HandleFunc("POST /configuration", s.member(s.change))
	mux.HandleFunc("GET /events", s.member(s.events))
	mux.HandleFunc("GET /authority.crt", s.member(s.authority))
	mux.HandleFunc("POST /do/{id}", s.member(s.do))
	s.pageRoutes(mux)
	crossOrigin := http.NewCrossOriginProtection()
	crossOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "this request comes from another site", http.StatusForbidden)
	}))
	return s.guard(crossOrigin.Handler(bounded(mux)))
}

// guard lets in who comes from where they may, and asks for us by a name that is ours:
// a page of somebody else's must not reach us by a name that it has bent to our address.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin") // an invitation is in an address
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !s.mayCome(r) {
			http.Error(w, "only from the LAN and the networks of console.allow", http.StatusForbidden)
			return
		}
		if !s.isUs(r) {
			http.Error(w, "this host is not known by that name", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) mayCome(r *http.Request) bool {
	from, ok := remote(r)
	return ok && (from.IsLoopback() || s.cfg.LAN.Contains(from) ||
		slices.ContainsFunc(s.cfg.Allow, func(p netip.Prefix) bool { return p.Contains(from) }))
}

func remote(r *http.Request) (netip.Addr, bool) {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	return ap.Addr().Unmap(), err == nil
}

// isUs reports whether the request's Host is an address or a name of ours.
func (s *Server) isUs(r *http.Request) bool {
	host, _ := hostOf(r)
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		return a == s.cfg.Addr || local != nil && a == addrOf(local)
	}
	return s.ourName(host) != ""
}

// hostOf splits the request's Host; without a port it is that of HTTPS.
func hostOf(r *http.Request) (host, port string) {
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		return r.Host, "443"
	}
	return host, port
}

// ourName returns the name of ours that a host is, in small letters; "" for any other.
func (s *Server) ourName(host string) string {
	for _, name := range append([]string{s.src.LocalName()}, s.cfg.Names...) {
		if name != "" && strings.EqualFold(name, host) {
			return strings.ToLower(name)
		}
	}
	return ""
}

func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// bounded gives a client up that takes nothing for a while, and does not read more than
// a request may be long.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm+1024)
		next.ServeHTTP(&impatient{w, http.NewResponseController(w)}, r)
	})
}

type impatient struct {
	http.ResponseWriter
	conn *http.ResponseController
}

func (i *impatient) Write(p []byte) (int, error) {
	_ = i.conn.SetWriteDeadline(time.Now().Add(slowTime)) // fails in tests without a connection only
	return i.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (i *impatient) Unwrap() http.ResponseWriter { return i.ResponseWriter }

// api has all the time that an operation needs for those who may ask.
func (s *Server) api() http.Handler {
	routes := s.src.Dispatcher.Routes(apiPrefix, s.caller)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := s.caller(r); err == nil {
			patient(w)
		}
		routes.ServeHTTP(w, r)
	})
}

// patient takes the time limit off a request: the connection is only listened to, and
// what ends it is the client.
func patient(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // fails in tests without a connection only
}

// caller tells who asks: by a token, or else by the session of a browser.
func (s *Server) caller(r *http.Request) (control.Caller, error) {
	from, _ := remote(r)
	if auth := r.Header.Get("Authorization"); auth != "" {
		secret, ok := strings.CutPrefix(auth, "Bearer ")
		a, err := s.src.Accounts.Token(strings.TrimSpace(secret))
		if !ok || err != nil {
			return control.Caller{}, &control.Error{Code: http.StatusUnauthorized, Message: "this token is not good, or not any more: make one with 'sae-agent console token'"}
		}
		return control.Caller{Name: "token " + a.Name, Role: a.Role, Address: from.String()}, nil
	}
	a, _, ok := s.account(r)
	if !ok {
		return control.Caller{}, &control.Error{Code: http.StatusUnauthorized, Message: "log in, or send a token as 'Authorization: Bearer …'"}
	}
	return control.Caller{Name: a.Name, Role: a.Role, Address: from.String()}, nil
}

// account returns who is logged in, and the name of the session.
func (s *Server) account(r *http.Request) (a account.Account, id string, ok bool) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return a, "", false
	}
	byItself := r.Header.Get("HX-Request") != "" && r.Method == http.MethodGet || r.URL.Path == "/events"
	e, ok := s.sessions.Get(c.Value, !byItself)
	if !ok {
		return a, "", false
	}
	a, ok = s.src.Accounts.Get(e.Account)
	if !ok || a.Epoch != e.Epoch { // removed, or another password
		s.sessions.End(c.Value)
		return a, "", false
	}
	return a, c.Value, true
}

// visit is a request of somebody who is logged in.
type visit struct {
	caller   control.Caller
	session  string
	language string // that the account wants; empty: the browser's
	since    int64  // the last change before it
}

// member calls next for who is logged in, and sends others to the login.
func (s *Server) member(next func(http.ResponseWriter, *http.Request, visit)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a, id, ok := s.account(r)
		if !ok {
			if r.Header.Get("HX-Request") != "" {
				w.Header().Set("HX-Redirect", "/login")
			}
			to := "/login"
			if r.Method == http.MethodGet && r.URL.Path != "/" && r.URL.Path != "/events" {
				to += "?next=" + url.QueryEscape(r.URL.RequestURI())
			}
			http.Redirect(w, r, to, http.StatusSeeOther)
			return
		}
		from, _ := remote(r)
		next(w, r, visit{control.Caller{Name: a.Name, Role: a.Role, Address: from.String()}, id, a.Language, s.hub.last.Load()})
	}
}

// begin logs an account in, in the place of whoever was.
func (s *Server) begin(w http.ResponseWriter, r *http.Request, a account.Account) {
	if c, err := r.Cookie(cookieName); err == nil {
		s.sessions.End(c.Value)
	}
	setCookie(w, cookieName, s.sessions.Start(a.Name, a.Epoch), 0)
}

func setCookie(w http.ResponseWriter, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: maxAge, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// local returns a path of ours to go to, or "/" for anything else.
func local(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n") {
		return "/"
	}
	return path
}

// loginForm is what the login page shows.
type loginForm struct {
	Next, Name, Error string
	Passkeys          bool // can work here
}

func (s *Server) showLogin(w http.ResponseWriter, r *http.Request, code int, f loginForm) {
	_, f.Passkeys = s.passkeyPlace(r)
	s.render(w, r, "login", visit{}, code, f)
}

func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) {
	s.showLogin(w, r, http.StatusOK, loginForm{Next: local(r.URL.Query().Get("next"))})
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	if !parseForm(w, r) {
		return
	}
	f := loginForm{Next: local(r.PostFormValue("next")), Name: strings.ToLower(strings.TrimSpace(r.PostFormValue("name")))}
	from, _ := remote(r)
	a, err := s.src.Accounts.Login(r.Context(), f.Name, r.PostFormValue("password"), codeOf(r), from.String())
	if err != nil {
		s.log.Warn("login refused", "address", from.String(), "err", err)
		f.Error = err.Error()
		s.showLogin(w, r, refusal(err), f)
		return
	}
	s.log.Info("login", "by", a.Name, "address", from.String())
	s.begin(w, r, a)
	http.Redirect(w, r, f.Next, http.StatusSeeOther)
}

// refusal is the status of a login that is refused.
func refusal(err error) int {
	if errors.Is(err, account.ErrTooOften) {
		return http.StatusTooManyRequests
	}
	return http.StatusUnauthorized
}

// invitation is what the page of an invitation shows.
type invitation struct {
	Secret, Name, Error string
	Min                 int
}

func (s *Server) invitePage(w http.ResponseWriter, r *http.Request) {
	a, err := s.src.Accounts.Invited(r.PathValue("secret"))
	s.showInvitation(w, r, a.Name, http.StatusOK, err)
}

func (s *Server) showInvitation(w http.ResponseWriter, r *http.Request, name string, code int, err error) {
	i := invitation{Secret: r.PathValue("secret"), Name: name, Min: account.MinPassword}
	if err != nil {
		i.Error = err.Error()
	}
	if errors.Is(err, account.ErrNotGood) {
		code = http.StatusNotFound
	}
	s.render(w, r, "invite", visit{}, code, i)
}

func (s *Server) acceptInvitation(w http.ResponseWriter, r *http.Request) {
	if !parseForm(w, r) {
		return
	}
	secret, password := r.PathValue("secret"), r.PostFormValue("password")
	inv, err := s.src.Accounts.Invited(secret)
	if err == nil && password != r.PostFormValue("again") {
		err = errors.New("the two passwords differ")
	}
	var a account.Account
	if err == nil {
		a, err = s.src.Accounts.Accept(r.Context(), secret, password)
	}
	if err != nil {
		s.showInvitation(w, r, inv.Name, http.StatusUnprocessableEntity, err)
		return
	}
	from, _ := remote(r)
	s.log.Info("invitation taken up", "by", a.Name, "role", a.Role, "address", from.String())
	s.begin(w, r, a)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(cookieName); err == nil {
		s.sessions.End(c.Value)
	}
	setCookie(w, cookieName, "", -1)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

func (s *Server) setPassword(w http.ResponseWriter, r *http.Request, v visit) {
	if !parseForm(w, r) {
		return
	}
	a, err := s.src.Accounts.SetPassword(r.Context(), v.caller.Name, r.PostFormValue("old"), codeOf(r), r.PostFormValue("password"), v.caller.Address)
	if err != nil {
		s.showError(w, r, v, &control.Error{Code: http.StatusUnprocessableEntity, Message: err.Error()})
		return
	}
	s.log.Info("password changed", "by", a.Name, "address", v.caller.Address)
	s.begin(w, r, a)
	http.Redirect(w, r, "/settings", http.StatusSeeOther)
}

// setLanguage has pages in another language from now on, in whichever browser.
func (s *Server) setLanguage(w http.ResponseWriter, r *http.Request, v visit) {
	if !parseForm(w, r) {
		return
	}
	lang := r.PostFormValue("language")
	if !slices.Contains(translate.Languages(), lang) {
		s.showError(w, r, v, &control.Error{Code: http.StatusBadRequest, Message: "there are no pages in that language"})
		return
	}
	if err := s.src.Accounts.SetLanguage(v.caller.Name, lang); err != nil {
		s.showError(w, r, v, err)
		return
	}
	http.Redirect(w, r, local(r.PostFormValue(backField)), http.StatusSeeOther)
}

func parseForm(w http.ResponseWriter, r *http.Request) bool {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form cannot be read", http.StatusBadRequest)
		return false
	}
	return true
}

// authority hands out what computers and telephones can trust. Browsers and telephones know the type, and offer to do so.
func (s *Server) authority(w http.ResponseWriter, r *http.Request, v visit) {
	ca, err := control.Ask(r.Context(), s.src.Dispatcher, v.caller, control.GetAuthority, control.None{})
	if err != nil {
		s.showError(w, r, v, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-x509-ca-cert")
	_, _ = io.WriteString(w, ca.PEM)
}

// changeEvent has a page fetch itself again.
const changeEvent = "event: change\ndata:\n\n"

// events tells a page that something has happened since it was made, until it is closed or its session
// ends.
func (s *Server) events(w http.ResponseWriter, r *http.Request, _ visit) {
	patient(w)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	conn := http.NewResponseController(w)
	next, message := s.hub.changed.Next(), "retry: 2000\n\n"
	if since := r.URL.Query().Get("since"); since != "" && since != strconv.FormatInt(s.hub.last.Load(), 10) {
		message += changeEvent
	}
	for {
		if _, err := io.WriteString(w, message); err != nil || conn.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-next:
		}
		if _, _, ok := s.account(r); !ok {
			return
		}
		next, message = s.hub.changed.Next(), changeEvent
	}
}

func (s *Server) asset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	data, err := fs.ReadFile(static, "static/"+name)
	if name == schemaFile {
		data, err = []byte(packaging.ConfigSchema), nil
	}
	if err != nil || r.PathValue("version") != s.pages.version {
		http.NotFound(w, r)
		return
	}
	types := map[string]string{".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".json": "application/json"}
	kind := "text/plain; charset=utf-8"
	if i := strings.LastIndexByte(name, '.'); i >= 0 && types[name[i:]] != "" {
		kind = types[name[i:]]
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(data)
}

// icon is for browsers that ask for it beside what is no page of ours, such as a refusal.
func (s *Server) icon(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "/static/"+s.pages.version+"/icon.svg", http.StatusFound)
}

func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(control.OpenAPI(s.src.Version))
}
