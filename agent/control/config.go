package control

import (
	"net/http"
	"time"
)

// Operations on the configuration.
var (
	GetPlan = Operation[None, Plan]{
		ID: "getPlan", Method: http.MethodGet, Path: "/plan", Role: Viewer,
		Summary: "What an apply would change",
	}
	ApplyConfig = Operation[ApplyOptions, Plan]{
		ID: "applyConfig", Method: http.MethodPost, Path: "/apply", Role: Admin, Order: "apply",
		Summary: "Read the configuration file and run it",
	}
	ConfirmConfig = Operation[None, None]{
		ID: "confirmConfig", Method: http.MethodPost, Path: "/confirm", Role: Admin, Order: "confirm",
		Summary: "Keep a change that is undone otherwise",
	}
	RollbackConfig = Operation[RollbackOptions, Plan]{
		ID: "rollbackConfig", Method: http.MethodPost, Path: "/rollback", Role: Admin, Order: "rollback",
		Summary: "Go back to an earlier configuration",
	}
	GetConfigFile = Operation[None, ConfigFile]{
		ID: "getConfigFile", Method: http.MethodGet, Path: "/config", Role: Admin,
		Summary: "The configuration file as it is, with its passwords",
	}
	CheckConfig = Operation[ConfigText, Plan]{
		ID: "checkConfig", Method: http.MethodPost, Path: "/config/check", Role: Admin,
		Summary: "What would change if a text were the configuration file, or what is wrong with it",
	}
	SaveConfig = Operation[ConfigText, Plan]{
		ID: "saveConfig", Method: http.MethodPut, Path: "/config", Role: Admin, Order: "write configuration file",
		Summary: "Make a valid text the configuration file; it runs when it is applied",
	}
	ListHistory = Operation[None, []Applied]{
		ID: "listHistory", Method: http.MethodGet, Path: "/history", Role: Viewer,
		Summary: "The configurations that are kept, newest last",
	}
)

func configOperations() []Declaration {
	return []Declaration{GetPlan, ApplyConfig, ConfirmConfig, RollbackConfig, GetConfigFile, CheckConfig, SaveConfig, ListHistory}
}

// ApplyOptions say how to apply.
type ApplyOptions struct {
	// Confirm undoes the change after this time unless it is confirmed; 0 does not.
	Confirm time.Duration `json:"confirm_ns,omitempty"`
	// Force applies also what locks out somebody who is logged in over SSH.
	Force bool `json:"force,omitempty"`
}

// EditOptions say how to change the operator's file.
type EditOptions struct {
	// DryRun only tells what would be changed.
	DryRun bool `json:"dry_run,omitempty"`
	// DiscardEdits begins with what runs, in place of a file with edits that nobody
	// applied. They are kept beside it.
	DiscardEdits bool `json:"discard_edits,omitempty"`
}

// RollbackOptions say where to go back to.
type RollbackOptions struct {
	// Number is the configuration to go back to; 0: the one before what runs, or
	// before what waits for its confirmation.
	Number int `json:"number,omitempty"`
	// Pending goes back only if the configuration with this number still waits for
	// its confirmation; otherwise nothing is done. The timer asks so.
	Pending int `json:"pending,omitempty"`
	// Force goes back also to what locks out somebody who is logged in over SSH.
	Force bool `json:"force,omitempty"`
}

// ConfigFile is the operator's file.
type ConfigFile struct {
	Path string `json:"path"`
	Text string `json:"text"`
	Hash string `json:"hash"` // SHA-256, hexadecimal
}

// ConfigText is to be the operator's file.
type ConfigText struct {
	Text string `json:"text"`
	// Before is the hash of the file that the text was made from. It is not written over
	// another one.
	Before string `json:"before,omitempty"`
}

// Applied is a configuration that ran once.
type Applied struct {
	Number    int       `json:"number"`
	AppliedAt time.Time `json:"applied_at"`
	Hash      string    `json:"hash"` // SHA-256, hexadecimal
	Runs      bool      `json:"runs"`
	Pending   bool      `json:"pending,omitempty"` // waits for its confirmation
}

// Plan says what an apply would change, or did change.
type Plan struct {
	Config  []Change `json:"config"`  // the file against the configuration that runs
	Machine []string `json:"machine"` // links, addresses and routes, in order
	// Firewall is who may reach what no longer (-) and from now on (+), for people.
	Firewall []string `json:"firewall,omitempty"`
	// Rules are the packet filter's rules that go (-) and come (+), as nft writes them.
	Rules []string `json:"rules,omitempty"`
	// Until is when the change is undone unless it is confirmed.
	Until time.Time `json:"until,omitzero"`
	// Behind are the parts that have not followed an apply.
	Behind []Behind `json:"behind,omitempty"`
}

// Behind is a part that does not run as configured yet.
type Behind struct {
	Part string `json:"part"`
	Why  string `json:"why"`
}

// Change is one configuration value that differs. Secrets are masked.
type Change struct {
	Path string `json:"path"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}
