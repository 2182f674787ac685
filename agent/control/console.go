package control

import (
	"net/http"
	"time"
)

// Operations on the console and on who may do what.
var (
	ListAccess = Operation[None, Access]{
		ID: "listAccess", Method: http.MethodGet, Path: "/access", Role: Admin,
		Summary: "Who may use the console and the API",
	}
	InviteAccount = Operation[Invitation, InvitationLink]{
		ID: "inviteAccount", Method: http.MethodPost, Path: "/access/invitations", Role: Admin, Order: "invite",
		Summary: "Make a link, good once, behind which somebody chooses a password",
	}
	RemoveAccount = Operation[NameRequest, None]{
		ID: "removeAccount", Method: http.MethodPost, Path: "/access/accounts/{name}/remove", Role: Admin, Order: "remove account",
		Summary: "Remove an account or an invitation, and end its sessions",
	}
	RemovePasskeys = Operation[NameRequest, None]{
		ID: "removePasskeys", Method: http.MethodPost, Path: "/access/accounts/{name}/passkeys/remove", Role: Admin, Order: "remove passkeys",
		Summary: "Remove all passkeys of an account, whose device was lost, and end its sessions",
	}
	CreateToken = Operation[TokenRequest, TokenSecret]{
		ID: "createToken", Method: http.MethodPost, Path: "/access/tokens", Role: Admin, Order: "create token",
		Summary: "Make a token for the API, which is shown once",
	}
	RemoveToken = Operation[NameRequest, None]{
		ID: "removeToken", Method: http.MethodPost, Path: "/access/tokens/{name}/remove", Role: Admin, Order: "remove token",
		Summary: "Remove a token of the API",
	}
	GetAuthority = Operation[None, Authority]{
		ID: "getAuthority", Method: http.MethodGet, Path: "/authority", Role: Viewer,
		Summary: "The authority of the appliance's certificate, for browsers and clients to trust",
	}
	ListOrders = Operation[None, []Order]{
		ID: "listOrders", Method: http.MethodGet, Path: "/orders", Role: Operator,
		Summary: "Who has changed what, newest first",
	}
)

func consoleOperations() []Declaration {
	return []Declaration{ListAccess, InviteAccount, RemoveAccount, RemovePasskeys, CreateToken, RemoveToken, GetAuthority, ListOrders}
}

// ConsoleStatus is where the console is.
type ConsoleStatus struct {
	URL         string `json:"url,omitempty"`         // empty: it is off, or not there yet
	Name        string `json:"name,omitempty"`        // the URL by its name in .local; empty: it has none, or not yet
	Fingerprint string `json:"fingerprint,omitempty"` // SHA-256 of its certificate, as browsers show it
}

// Authority is what has signed the appliance's certificate.
type Authority struct {
	PEM string `json:"pem"` // a file of one certificate (RFC 7468)
}

// NameRequest names an account or a token.
type NameRequest struct {
	Name string `path:"name" json:"-"`
}

// Invitation is for somebody who is to get an account, or another password.
type Invitation struct {
	Name string `json:"name"`
	Role string `json:"role"` // viewer, operator or admin
}

// InvitationLink is where an invitation is taken up.
type InvitationLink struct {
	URL     string    `json:"url"`
	Expires time.Time `json:"expires"`
}

// TokenRequest says what a token is for.
type TokenRequest struct {
	Name string `json:"name"`
	Role string `json:"role"`           // viewer, operator or admin
	Days int    `json:"days,omitempty"` // until it ends; default 365
}

// TokenSecret is what the API's clients send as "Authorization: Bearer".
type TokenSecret struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// Access is who may use the console and the API.
type Access struct {
	Accounts    []Account `json:"accounts"`
	Invitations []Account `json:"invitations"`
	Tokens      []Account `json:"tokens"`
}

// Account is somebody with a role: a person, one who is invited, or a token.
type Account struct {
	Name     string    `json:"name"`
	Role     Role      `json:"role"`
	Created  time.Time `json:"created"`
	LastUsed time.Time `json:"last_used,omitzero"`
	Expires  time.Time `json:"expires,omitzero"`
	// SecondFactor says that a login takes a code of an authenticator app too.
	SecondFactor bool `json:"second_factor,omitempty"`
	// Passkeys is how many it has.
	Passkeys int `json:"passkeys,omitempty"`
}

// Order is something that somebody has had done.
type Order struct {
	At      time.Time `json:"at"`
	By      string    `json:"by"`             // an account, a token, or uid and number over the socket
	From    string    `json:"from,omitempty"` // address
	Order   string    `json:"order"`
	About   string    `json:"about,omitempty"` // a phone, a stack …
	Changes []Change  `json:"changes,omitempty"`
	Error   string    `json:"error,omitempty"` // why it was not done
}
