package control

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// FirewallBackend answers questions about rules and bans.
type FirewallBackend interface {
	Firewall(ctx context.Context) (Firewall, error)
	FirewallTest(ctx context.Context, q FirewallQuestion) (FirewallAnswer, error)
	Bans(ctx context.Context) ([]Ban, error)
	AddBan(ctx context.Context, b Ban) (Ban, error)
	RemoveBans(ctx context.Context, r BanRemoval) (BanRemoved, error)
}

// Firewall is how the ruleset is.
type Firewall struct {
	Active  bool      `json:"active"`
	Since   time.Time `json:"since,omitzero"` // loaded last
	Repairs uint64    `json:"repairs"`        // times that it was put back
	Problem string    `json:"problem,omitempty"`
	Rules   string    `json:"rules"` // in the words of nft(8)
}

// FirewallQuestion is a connection that somebody asks about.
type FirewallQuestion struct {
	From     string `json:"from"`     // wan, lan, docker, trusted, or an address
	To       string `json:"to"`       // local (default), or wan, lan, docker
	Protocol string `json:"protocol"` // tcp, udp or icmp
	Port     uint16 `json:"port"`
}

// FirewallAnswer is what becomes of it.
type FirewallAnswer struct {
	Accept bool   `json:"accept"`
	Zone   string `json:"zone"`  // where it comes from
	Chain  string `json:"chain"` // where it was decided
	Rule   string `json:"rule"`  // which rule did; empty: none stops it
	Why    string `json:"why"`
}

// Ban is a sender that is kept out.
type Ban struct {
	Address  string    `json:"address"`
	Jail     string    `json:"jail"`
	Reason   string    `json:"reason,omitempty"`
	Attempts int       `json:"attempts,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Until    time.Time `json:"until,omitzero"`
	Times    int       `json:"times,omitempty"` // banned within a week
	// Duration is for AddBan: how long from now; 0 grows with each ban.
	Duration time.Duration `json:"duration_ns,omitempty"`
}

// BanRemoval says whose ban to lift.
type BanRemoval struct {
	Address string `json:"address,omitempty"`
	All     bool   `json:"all,omitempty"` // everybody's instead
	// Jail lifts the ban only if this jail has imposed it, and does not ask elsewhere:
	// it is the one that asks.
	Jail string `json:"jail,omitempty"`
}

// BanRemoved says whose bans were lifted.
type BanRemoved struct {
	Addresses []string `json:"addresses"`
}

// Firewall asks for the rules that are in force.
func (c *Client) Firewall(ctx context.Context) (Firewall, error) {
	return call[Firewall](ctx, c, http.MethodGet, "/v1/firewall", nil)
}

// FirewallTest asks what becomes of a connection.
func (c *Client) FirewallTest(ctx context.Context, q FirewallQuestion) (FirewallAnswer, error) {
	return call[FirewallAnswer](ctx, c, http.MethodPost, "/v1/firewall/test", q)
}

// Bans lists who is banned now, newest first.
func (c *Client) Bans(ctx context.Context) ([]Ban, error) {
	return call[[]Ban](ctx, c, http.MethodGet, "/v1/bans", nil)
}

// AddBan bans a sender.
func (c *Client) AddBan(ctx context.Context, b Ban) (Ban, error) {
	return call[Ban](ctx, c, http.MethodPost, "/v1/bans/"+url.PathEscape(b.Address)+"/add", b)
}

// RemoveBans lifts bans, wherever they are noted.
func (c *Client) RemoveBans(ctx context.Context, r BanRemoval) (BanRemoved, error) {
	return call[BanRemoved](ctx, c, http.MethodPost, "/v1/bans/remove", r)
}

func (s *Server) firewallRoutes(mux *http.ServeMux) {
	b := s.backend
	mux.Handle("GET /v1/firewall", ask(b.Firewall))
	mux.Handle("GET /v1/bans", ask(b.Bans))
	test := with(func(r *http.Request, q FirewallQuestion) (any, error) { return b.FirewallTest(r.Context(), q) })
	mux.Handle("POST /v1/firewall/test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		v, err := test(r)
		reply(w, v, err)
	}))
	mux.Handle("POST /v1/bans/{address}/add", s.change("ban", with(func(r *http.Request, ban Ban) (any, error) {
		ban.Address = r.PathValue("address")
		return b.AddBan(r.Context(), ban)
	})))
	mux.Handle("POST /v1/bans/remove", s.change("lift bans", with(func(r *http.Request, o BanRemoval) (any, error) {
		return b.RemoveBans(r.Context(), o)
	})))
}
