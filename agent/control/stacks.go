package control

import (
	"net/http"
	"time"
)

// Operations on stacks.
var (
	ListStacks = Operation[None, []Stack]{
		ID: "listStacks", Method: http.MethodGet, Path: "/stacks", Role: Viewer,
		Summary: "The stacks and their services",
	}
	StartStack = Operation[StackUpOptions, None]{
		ID: "startStack", Method: http.MethodPost, Path: "/stacks/{stack}/up", Role: Operator, Order: "stack up",
		Summary: "Start a stack that was stopped, and wait until it is healthy",
	}
	StopStack = Operation[StackRequest, None]{
		ID: "stopStack", Method: http.MethodPost, Path: "/stacks/{stack}/down", Role: Operator, Order: "stack down",
		Summary: "Stop a stack until it is started again; its data stay",
	}
	UpdateStack = Operation[StackUpdateOptions, StackUpdate]{
		ID: "updateStack", Method: http.MethodPost, Path: "/stacks/{stack}/update", Role: Operator, Order: "stack update",
		Summary: "Update a stack and wait for the outcome",
	}
	ListStackUpdates = Operation[None, []StackUpdate]{
		ID: "listStackUpdates", Method: http.MethodGet, Path: "/stacks-history", Role: Viewer,
		Summary: "The updates that were tried",
	}
	ShowStackLogins = Operation[StackLoginOptions, StackLogins]{
		ID: "showStackLogins", Method: http.MethodPost, Path: "/stacks/{stack}/logins", Role: Admin, Order: "show first passwords",
		Summary: "The first passwords of a stack's accounts, which are shown once",
	}
	// An application's log may hold what only those who look after it should see.
	ReadStackLogs = TextStream[StackLogOptions]{
		ID: "readStackLogs", Method: http.MethodGet, Path: "/stacks/{stack}/logs", Role: Operator,
		Summary: "What a stack's containers have said and, if asked for, what they say next",
	}
)

func stackOperations() []Declaration {
	return []Declaration{ListStacks, StartStack, StopStack, UpdateStack, ListStackUpdates, ShowStackLogins, ReadStackLogs}
}

// StackRequest names a stack.
type StackRequest struct {
	Stack string `path:"stack" json:"-"`
}

// Stack is a server in containers.
type Stack struct {
	Name      string            `json:"name"`
	State     string            `json:"state"` // off, stopped, starting, healthy, degraded, blocked or updating
	Since     time.Time         `json:"since"`
	URL       string            `json:"url,omitempty"`     // of its page
	Cause     string            `json:"cause,omitempty"`   // a word for what is wrong
	Problem   string            `json:"problem,omitempty"` // the same in a sentence
	Fix       string            `json:"fix,omitempty"`
	NextTry   time.Time         `json:"next_try,omitzero"`
	Repairs   uint64            `json:"repairs"` // times that it was brought back
	Notes     []StackNote       `json:"notes,omitempty"`
	Pull      StackPull         `json:"pull,omitzero"` // the image that is fetched now
	Services  []StackService    `json:"services,omitempty"`
	Available map[string]string `json:"available,omitempty"` // newer images, by service
	Gateway   string            `json:"gateway,omitempty"`   // Jitsi's SIP gateway at the exchange: registered, not registered, or not known
}

// StackService is one service of a stack.
type StackService struct {
	Name   string `json:"name"`
	Image  string `json:"image"`
	Up     bool   `json:"up"`
	Status string `json:"status,omitempty"` // in Docker's words
}

// StackNote is something to know that is no failure.
type StackNote struct {
	What string `json:"what"`
	Fix  string `json:"fix"`
}

// StackPull is how far an image is fetched.
type StackPull struct {
	Image  string `json:"image"`
	Number int    `json:"number"` // it is the n-th of so many
	Of     int    `json:"of"`
	Done   int64  `json:"done"`  // bytes
	Total  int64  `json:"total"` // bytes of the layers that are known
	Left   int64  `json:"left"`  // seconds at the rate so far; 0: not known
}

// StackUpOptions say what a stack is brought up with.
type StackUpOptions struct {
	Stack  string   `path:"stack" json:"-"`
	Images []string `json:"images,omitempty"` // names that Docker was given, such as out of a bundle
}

// StackLoginOptions say what is wanted of first passwords.
type StackLoginOptions struct {
	Stack string `path:"stack" json:"-"`
	Again bool   `json:"again,omitempty"` // although they were shown before
}

// StackUpdateOptions say how far an update may go.
type StackUpdateOptions struct {
	Stack string `path:"stack" json:"-"`
	Major bool   `json:"major,omitempty"` // to the next major version
}

// StackUpdate is an update that was tried.
type StackUpdate struct {
	Time    time.Time         `json:"time"`
	Stack   string            `json:"stack"`
	Outcome string            `json:"outcome"` // updated, rolled back, abandoned or broken
	From    map[string]string `json:"from,omitempty"`
	To      map[string]string `json:"to,omitempty"` // empty: nothing was newer
	Detail  string            `json:"detail,omitempty"`
	Backup  string            `json:"backup,omitempty"` // folder
}

// StackLogins are first passwords.
type StackLogins struct {
	URL    string       `json:"url"`
	Logins []StackLogin `json:"logins,omitempty"`
	Shown  string       `json:"shown,omitempty"` // when they were shown, if it was before
}

// StackLogin is an account and its first password.
type StackLogin struct {
	Account  string `json:"account"`
	Password string `json:"password"`
}

// StackLogOptions say which lines of the logs are wanted.
type StackLogOptions struct {
	Stack   string `path:"stack" json:"-"`
	Service string `query:"service" json:"-"` // empty: all
	Lines   int    `query:"lines" json:"-"`   // of each service, from the end
	Follow  bool   `query:"follow" json:"-"`  // go on as more is said
}
