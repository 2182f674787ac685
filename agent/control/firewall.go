package control

import (
	"net/http"
	"time"
)

// Operations on rules and bans.
var (
	GetFirewall = Operation[None, Firewall]{
		ID: "getFirewall", Method: http.MethodGet, Path: "/firewall", Role: Viewer,
		Summary: "The rules that are in force",
	}
	TestFirewall = Operation[FirewallQuestion, FirewallAnswer]{
		ID: "testFirewall", Method: http.MethodGet, Path: "/firewall/test", Role: Viewer,
		Summary: "What becomes of a connection, and which rule decides",
	}
	ListBans = Operation[None, []Ban]{
		ID: "listBans", Method: http.MethodGet, Path: "/bans", Role: Viewer,
		Summary: "Who is banned now, newest first",
	}
	AddBan = Operation[BanRequest, Ban]{
		ID: "addBan", Method: http.MethodPost, Path: "/bans", Role: Operator, Order: "ban",
		Summary: "Ban a sender",
	}
	RemoveBans = Operation[BanRemoval, BanRemoved]{
		ID: "removeBans", Method: http.MethodPost, Path: "/bans/remove", Role: Operator, Order: "lift bans",
		Summary: "Lift bans, wherever they are noted",
	}
)

func firewallOperations() []Declaration {
	return []Declaration{GetFirewall, TestFirewall, ListBans, AddBan, RemoveBans}
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
	From     string `query:"from" json:"-"`     // wan, lan, docker, trusted, or an address
	To       string `query:"to" json:"-"`       // local (default), or wan, lan, docker
	Protocol string `query:"protocol" json:"-"` // tcp, udp or icmp
	Port     uint16 `query:"port" json:"-"`
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
	// Duration is how long it was asked for; 0 grows with each ban.
	Duration time.Duration `json:"duration_ns,omitempty"`
}

// BanRequest says whom to ban.
type BanRequest struct {
	Address  string        `json:"address"`
	Jail     string        `json:"jail,omitempty"` // who noticed it
	Reason   string        `json:"reason,omitempty"`
	Attempts int           `json:"attempts,omitempty"`
	Duration time.Duration `json:"duration_ns,omitempty"` // from now; 0 grows with each ban
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
