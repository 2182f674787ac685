package control

import (
	"net/http"
	"time"
)

// Operations on the exchange.
var (
	ListExtensions = Operation[None, []ExtensionStatus]{
		ID: "listExtensions", Method: http.MethodGet, Path: "/extensions", Role: Viewer,
		Summary: "The extensions of the configuration that runs, as the exchange has them",
	}
	ListGroups = Operation[None, []RingGroup]{
		ID: "listGroups", Method: http.MethodGet, Path: "/groups", Role: Viewer,
		Summary: "The groups of the configuration that runs: numbers at which several extensions ring",
	}
	ListCalls = Operation[None, Calls]{
		ID: "listCalls", Method: http.MethodGet, Path: "/calls", Role: Viewer,
		Summary: "The calls that go on, and those that have ended since the daemon was started",
	}
	GetPBX = Operation[None, PBXStatus]{
		ID: "getPBX", Method: http.MethodGet, Path: "/pbx", Role: Viewer,
		Summary: "How the exchange is and what has happened to it",
	}
	RestartPBX = Operation[RestartOptions, None]{
		ID: "restartPBX", Method: http.MethodPost, Path: "/pbx/restart", Role: Operator, Order: "restart pbx",
		Summary: "Restart the exchange",
	}
	PausePBX = Operation[PauseOptions, Pause]{
		ID: "pausePBX", Method: http.MethodPost, Path: "/pbx/pause", Role: Operator, Order: "pause pbx",
		Summary: "Leave the exchange alone for a while: it is neither changed nor started",
	}
	ResumePBX = Operation[None, None]{
		ID: "resumePBX", Method: http.MethodPost, Path: "/pbx/resume", Role: Operator, Order: "resume pbx",
		Summary: "End a pause of the exchange",
	}
	ShowSecret = Operation[SecretRequest, ExtensionSecret]{
		ID: "showSecret", Method: http.MethodPost, Path: "/extensions/{extension}/secret", Role: Admin, Order: "show secret",
		Summary: "The secret that the exchange has for an extension",
	}
	RotateSecrets = Operation[Rotation, Plan]{
		ID: "rotateSecrets", Method: http.MethodPost, Path: "/extensions/rotate", Role: Admin, Order: "rotate secrets",
		Summary: "Give extensions new secrets; their phones fetch them, other devices must be given them",
	}
)

func pbxOperations() []Declaration {
	return []Declaration{ListExtensions, ListGroups, ListCalls, GetPBX, RestartPBX, PausePBX, ResumePBX, ShowSecret, RotateSecrets}
}

// SecretRequest names the extension whose secret is shown.
type SecretRequest struct {
	Extension string `path:"extension" json:"-"`
}

// ExtensionSecret is what a device registers an extension with.
type ExtensionSecret struct {
	Extension string `json:"extension"`
	Secret    string `json:"secret"`
}

// Rotation says which extensions get a new secret.
type Rotation struct {
	Extensions []string `json:"extensions,omitempty"` // their numbers
	All        bool     `json:"all,omitempty"`
	EditOptions
}

// PauseOptions say for how long the exchange is left alone.
type PauseOptions struct {
	For time.Duration `json:"for_ns"` // at most a day
}

// Pause is until when the exchange is left alone.
type Pause struct {
	Until time.Time `json:"until"`
}

// RingGroup is a number at which several extensions ring.
type RingGroup struct {
	Number   string            `json:"number"`
	Name     string            `json:"name"`
	Members  []RingGroupMember `json:"members"`     // in the order of the file
	Strategy string            `json:"strategy"`    // ringall: all at once; hunt: one after the other
	Ring     time.Duration     `json:"ring_ns"`     // how long it rings, with hunt at each member
	GivesUp  time.Duration     `json:"gives_up_ns"` // after which, at the latest, a caller whom nobody answers is hung up on
}

// RingGroupMember is an extension that rings.
type RingGroupMember struct {
	Number string `json:"number"`
	Name   string `json:"name"`
}

// ExtensionStatus is a number of the file, as the exchange has it now.
type ExtensionStatus struct {
	Number        string         `json:"number"`
	Name          string         `json:"name"`
	Phones        []string       `json:"phones"` // MACs of the desk phones that have it
	InExchange    bool           `json:"in_exchange"`
	Registrations []Registration `json:"registrations"`
	InCall        bool           `json:"in_call"`
	Trouble       string         `json:"trouble,omitempty"`
}

// Registration is one device that is registered for an extension.
type Registration struct {
	Address   string        `json:"address"`
	UserAgent string        `json:"user_agent"`
	Reach     string        `json:"reach"` // reachable, unreachable or unknown
	RoundTrip time.Duration `json:"round_trip_ns,omitempty"`
	Expires   time.Time     `json:"expires,omitzero"`
}

// Calls are those of the exchange.
type Calls struct {
	Now    []PhoneCall `json:"now"`    // the oldest first
	Recent []PhoneCall `json:"lately"` // the last 200 that have ended, the newest first
}

// PhoneCall is a call between two numbers. Names are those of the file.
type PhoneCall struct {
	From     string        `json:"from"`
	FromName string        `json:"from_name,omitempty"`
	To       string        `json:"to"`
	ToName   string        `json:"to_name,omitempty"`
	State    string        `json:"state"` // ringing, talking, answered or unanswered
	Began    time.Time     `json:"began"`
	Ended    time.Time     `json:"ended,omitzero"`
	Talked   time.Duration `json:"talked_ns,omitempty"` // once it has ended
}

// PBXStatus is how the exchange is.
type PBXStatus struct {
	Driver     string    `json:"driver"`
	State      string    `json:"state"` // see pbx.HealthState; absent: there is none; none: none is watched
	Since      time.Time `json:"since,omitzero"`
	Why        string    `json:"why,omitempty"`
	Held       string    `json:"held,omitempty"` // why it is not restarted
	Restarts   int       `json:"restarts"`       // in the last 15 minutes
	Extensions int       `json:"extensions"`
	Registered int       `json:"registered"`
	Calls      int       `json:"calls"`
	InLine     bool      `json:"in_line"` // it has the extensions that it should have
	Error      string    `json:"error,omitempty"`
	Paused     time.Time `json:"paused_until,omitzero"` // it is left alone until then
	// Unserved are extensions that it does not serve as the file says.
	Unserved []string `json:"unserved,omitempty"`
	// Waiting are extensions whose new secret waits for the end of a call.
	Waiting []string   `json:"waiting,omitempty"`
	Story   []PBXEvent `json:"story"` // what has happened to it, newest last
	// Changes are the last new secrets that have reached a phone, newest last.
	Changes []ExtensionChange `json:"changes,omitempty"`
}

// ExtensionChange is a new secret on its way from the exchange to a phone.
type ExtensionChange struct {
	Number string    `json:"number"`
	MAC    string    `json:"mac"`
	At     time.Time `json:"at"` // when the phone was asked to fetch its file, or had done so
	// Took is the time from the exchange's change until then, in nanoseconds: so long the phone could not have registered.
	Took time.Duration `json:"took"`
}

// PBXEvent is one thing that has happened to the exchange.
type PBXEvent struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
}

// RestartOptions say how to restart the exchange.
type RestartOptions struct {
	Force bool `json:"force,omitempty"` // even if calls go on
}
