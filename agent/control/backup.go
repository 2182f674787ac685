package control

import (
	"net/http"
	"time"
)

// Operations for the command that makes a backup. The command makes it, not the
// daemon: files of containers and of the exchange can only be read with more rights
// than the daemon has.
var (
	GetBackupPlan = Operation[None, BackupPlan]{
		ID: "getBackupPlan", Method: http.MethodGet, Path: "/backup", Role: Viewer,
		Summary: "What belongs into a backup",
	}
	HoldForBackup = Hold[HoldRequest, Held]{
		ID: "holdForBackup", Method: http.MethodPost, Path: "/backup/hold", Role: Admin, Order: "hold for backup",
		Summary: "Have a part stand still while it is read",
	}
)

func backupOperations() []Declaration { return []Declaration{GetBackupPlan, HoldForBackup} }

// BackupPlan says what belongs into a backup.
type BackupPlan struct {
	Site       string        `json:"site"`
	Dir        string        `json:"dir"`
	Keep       int           `json:"keep"`
	Recipients []string      `json:"recipients,omitempty"`
	Remote     string        `json:"remote,omitempty"` // where archives are copied to besides
	StateDir   string        `json:"state_dir"`
	ConfigPath string        `json:"config_path"`
	Last       BackupOutcome `json:"last"` // of those that the daemon began
}

// BackupOutcome is how a backup of the daemon's own accord ended.
type BackupOutcome struct {
	At    time.Time `json:"at,omitzero"`
	Error string    `json:"error,omitempty"`
}

// HoldRequest says what is to stand still: leases, or stack/ and its name.
type HoldRequest struct {
	Part string `json:"part"`
}

// Held is something that stands still.
type Held struct {
	Path string `json:"path"` // where it can be read
}
