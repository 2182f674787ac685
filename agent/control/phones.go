package control

import (
	"net/http"
	"time"
)

// Operations on phones.
var (
	ListPhones = Operation[None, []Phone]{
		ID: "listPhones", Method: http.MethodGet, Path: "/phones", Role: Viewer,
		Summary: "All phones, by state and MAC",
	}
	GetPhone = Operation[PhoneRequest, Phone]{
		ID: "getPhone", Method: http.MethodGet, Path: "/phones/{mac}", Role: Viewer,
		Summary: "All that is known of one phone",
	}
	AddPhone = Operation[NewPhone, Plan]{
		ID: "addPhone", Method: http.MethodPost, Path: "/phones", Role: Operator, Order: "add phone",
		Summary: "Write a phone into the configuration file, with its extension, and run it",
	}
	ApprovePhone = Operation[Approval, Plan]{
		ID: "approvePhone", Method: http.MethodPost, Path: "/phones/{mac}/approve", Role: Operator, Order: "approve phone",
		Summary: "Write an unknown phone into the configuration file, with its extension, and run it",
	}
	ReplacePhone = Operation[Replacement, Plan]{
		ID: "replacePhone", Method: http.MethodPost, Path: "/phones/{mac}/replace", Role: Operator, Order: "replace phone",
		Summary: "Give another phone the place of one in the configuration file, and run it",
	}
	RemovePhone = Operation[Removal, Plan]{
		ID: "removePhone", Method: http.MethodPost, Path: "/phones/{mac}/remove", Role: Operator, Order: "remove phone",
		Summary: "Take a phone out of the configuration file, and run it",
	}
	ForgetPhone = Operation[PhoneRequest, None]{
		ID: "forgetPhone", Method: http.MethodPost, Path: "/phones/{mac}/forget", Role: Operator, Order: "forget phone",
		Summary: "Take an approval back",
	}
	RearmPhone = Operation[PhoneRequest, None]{
		ID: "rearmPhone", Method: http.MethodPost, Path: "/phones/{mac}/rearm", Role: Operator, Order: "rearm phone",
		Summary: "Put the secret back into the file of a phone that has registered",
	}
	ResyncPhones = Operation[ResyncOptions, []Resync]{
		ID: "resyncPhones", Method: http.MethodPost, Path: "/phones/resync", Role: Operator, Order: "resync phones",
		Summary: "Have phones fetch their files again, and wait until they have",
	}
	RestartPhones = Operation[ResyncOptions, []Resync]{
		ID: "restartPhones", Method: http.MethodPost, Path: "/phones/restart", Role: Operator, Order: "restart phones",
		Summary: "Restart phones that are not in a call, and wait until they have fetched their files",
	}
	LinkSoftphone = Operation[SoftphoneRequest, Link]{
		ID: "linkSoftphone", Method: http.MethodPost, Path: "/softphones/{extension}/link", Role: Operator, Order: "softphone link",
		Summary: "Make a single-use provisioning address for a softphone",
	}
)

func phoneOperations() []Declaration {
	return []Declaration{ListPhones, GetPhone, AddPhone, ApprovePhone, ReplacePhone, RemovePhone, ForgetPhone, RearmPhone, ResyncPhones, RestartPhones, LinkSoftphone}
}

// PhoneRequest names a phone, by its MAC in any usual notation.
type PhoneRequest struct {
	MAC string `path:"mac" json:"-"`
}

// SoftphoneRequest names the extension that a softphone gets.
type SoftphoneRequest struct {
	Extension string `path:"extension" json:"-"`
}

// Phone is one phone, configured, approved or waiting for approval.
type Phone struct {
	MAC       string    `json:"mac"`
	Model     string    `json:"model,omitempty"`
	Extension string    `json:"extension,omitempty"`
	Name      string    `json:"name,omitempty"`
	State     string    `json:"state"`
	Source    string    `json:"source"` // config, approved or unknown
	Address   string    `json:"address,omitempty"`
	Firmware  string    `json:"firmware,omitempty"`
	FirstSeen time.Time `json:"first_seen,omitzero"`
	LastSeen  time.Time `json:"last_seen,omitzero"`
	LastFetch time.Time `json:"last_fetch,omitzero"`
	LastFile  string    `json:"last_file,omitempty"`
	Armed     bool      `json:"armed"`             // its file carries its secret
	Alert     string    `json:"alert,omitempty"`   // something that a person should look at
	Trouble   string    `json:"trouble,omitempty"` // why it has its file and is not registered
}

// NewPhone is a phone for the configuration file.
type NewPhone struct {
	MAC       string `json:"mac"`
	Model     string `json:"model,omitempty"`     // default: what the phone seems to be
	Extension string `json:"extension,omitempty"` // made where there is none; default: the next free number
	Name      string `json:"name,omitempty"`      // of an extension that is made
	EditOptions
}

// Approval is what an unknown phone becomes.
type Approval struct {
	MAC       string `path:"mac" json:"-"`
	Model     string `json:"model,omitempty"`     // default: what the phone seems to be
	Extension string `json:"extension,omitempty"` // made where there is none; default: the next free number
	Name      string `json:"name,omitempty"`      // of an extension that is made
	EditOptions
}

// Replacement is the phone that takes the place of another.
type Replacement struct {
	MAC   string `path:"mac" json:"-"`
	New   string `json:"new"`             // its MAC
	Model string `json:"model,omitempty"` // default: what it seems to be, or the former one's
	EditOptions
}

// Removal says which phone goes.
type Removal struct {
	MAC string `path:"mac" json:"-"`
	// Extension removes its extension too, unless another phone has it.
	Extension bool `json:"extension,omitempty"`
	EditOptions
}

// Link is a softphone's single-use provisioning address.
type Link struct {
	URL     string    `json:"url"`
	Expires time.Time `json:"expires"`
}

// ResyncOptions say which phones fetch their files again, or restart.
type ResyncOptions struct {
	MAC  string        `json:"mac,omitempty"` // empty: all that have an extension
	Wait time.Duration `json:"wait_ns"`       // for them to do it; at most five minutes; 0: not at all
}

// ResyncState is how it went.
type ResyncState string

// How a resync can go.
const (
	ResyncDone          ResyncState = "done"           // the phone has fetched its file
	ResyncAsked         ResyncState = "asked"          // and not waited for
	ResyncSilent        ResyncState = "no answer"      // it was asked, and has not
	ResyncNotRegistered ResyncState = "not registered" // it cannot be asked
	ResyncFailed        ResyncState = "failed"         // it could not be asked
)

// Resync is how it went with one phone.
type Resync struct {
	MAC       string      `json:"mac"`
	Extension string      `json:"extension"`
	State     ResyncState `json:"state"`
	Detail    string      `json:"detail,omitempty"`
}
