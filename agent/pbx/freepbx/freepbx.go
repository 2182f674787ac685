// Package freepbx makes the extensions of FreePBX 17 those of a list.
//
// FreePBX is asked and told through its own ways: its database is read and never
// written, extensions go in with 'fwconsole bulkimport', out with its GraphQL API.
// None of them says reliably whether it worked, so everything is read back. What is
// to be done is decided apart from doing it (plan.go); what is done goes through one
// interface (System), which Machine implements.
//
// The package is written from FreePBX's source (branch release/17.0). It knows
// nothing of phones, of the configuration file or of Asterisk's manager interface.
package freepbx

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/sae-agent/sae-agent/agent/pbx"
)

// ErrNotInstalled says that there is no FreePBX on this machine.
var ErrNotInstalled = fmt.Errorf("FreePBX is not installed here: %w: 'sae-agent pbx install' does it", pbx.ErrAbsent)

// Columns are values by the names that FreePBX gives them.
type Columns map[string]string

// hide takes the passwords among the values out of a text.
func (c Columns) hide(text string) string {
	for _, name := range []string{"secret", "voicemail_vmpwd", "password"} {
		if v := c[name]; v != "" {
			text = strings.ReplaceAll(text, v, "******")
		}
	}
	return text
}

// Found is an extension as FreePBX has it, by the tables of its database.
type Found struct {
	Number string
	Device Columns // of table devices; nil when there is none
	User   Columns // of table users; nil when there is none
	SIP    Columns // table sip: a keyword a row
}

// whole reports whether no part of the extension is missing.
func (f Found) whole() bool { return f.Device != nil && f.User != nil && f.SIP["secret"] != "" }

// Extras is what FreePBX keeps of its extensions outside of its database.
type Extras struct {
	Mailboxes map[string]Mailbox // by number
	AstDB     map[string]string  // Asterisk's own database, by key: /AMPUSER/100/cidname
}

// NAT is what FreePBX's module sipsettings keeps of the network.
type NAT struct {
	External string         // the address that phones elsewhere are told, as it was written there
	Local    []netip.Prefix // where phones are told our own
}

// System is a FreePBX as the driver sees it. That a call returns no error does not
// mean that it did something.
type System interface {
	// Extensions reads every extension, whoever made it, by number.
	Extensions(ctx context.Context) (map[string]Found, error)
	// Extras reads what the database has not.
	Extras(ctx context.Context) (Extras, error)
	// Put writes a file of ours, includes it, and has Asterisk read it. It reports
	// whether anything differed.
	Put(ctx context.Context, f File) (changed bool, err error)
	// Import hands a file to 'fwconsole bulkimport'. It returns what was printed.
	Import(ctx context.Context, csv []byte, replace bool) (output string, err error)
	// Reload has FreePBX write Asterisk's files and Asterisk read them.
	Reload(ctx context.Context) (output string, err error)
	// NAT reads what Asterisk tells phones of its own addresses.
	NAT(ctx context.Context) (NAT, error)
	// AddLocalNetwork makes a network one whose phones are told the address on it.
	AddLocalNetwork(ctx context.Context, network netip.Prefix) error
	// Delete removes an extension, with its mailbox and messages.
	Delete(ctx context.Context, number string) error
}

// sorted are the keys of a map in order.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
