package control

import (
	"net/http"

	"github.com/sae-agent/sae-agent/agent/events"
)

// Operations on what has happened.
var (
	GetLogSource = Operation[LogSourceRequest, LogSource]{
		ID: "getLogSource", Method: http.MethodGet, Path: "/logs/source", Role: Viewer,
		Summary: "Where events are to be read, and whose story a phone's is",
	}
	ReadLogs = Stream[LogsRequest, events.Event]{
		ID: "readLogs", Method: http.MethodGet, Path: "/logs", Role: Viewer,
		Summary: "What the daemon remembers, oldest first, and, if asked for, what comes next",
	}
)

func logOperations() []Declaration { return []Declaration{GetLogSource, ReadLogs} }

// LogSourceRequest names a phone by its MAC; it may be left out.
type LogSourceRequest struct {
	Phone string `query:"phone" json:"-"`
}

// LogsRequest picks events, as events.Filter does.
type LogsRequest struct {
	Part      string `query:"part" json:"-"`
	MAC       string `query:"mac" json:"-"`
	Extension string `query:"extension" json:"-"`
	Last      int    `query:"last" json:"-"`   // only so many of those there are, the newest; 0: all
	Follow    bool   `query:"follow" json:"-"` // go on until the one who asked has enough
}

// LogSource is where events are to be read.
type LogSource struct {
	// Journal is true when the daemon writes to the journal all that it remembers.
	Journal   bool   `json:"journal"`
	MAC       string `json:"mac,omitempty"`       // of the phone that was asked for
	Extension string `json:"extension,omitempty"` // its number, when it has one
}
