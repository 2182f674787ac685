package pbx

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/pbx/ami"
)

// Account is an account as Asterisk runs with it, whatever files or databases say.
type Account struct {
	// Secrets are those that it takes: one, unless somebody has given it several.
	Secrets []Secret
	// Registers says that a device can register for it.
	Registers bool
}

// Takes reports whether the account takes a secret.
func (a Account) Takes(secret Secret) bool { return slices.Contains(a.Secrets, secret) }

// lacks says why an account does not serve a device that has secret; empty: it does.
func (a Account) lacks(there bool, secret Secret) string {
	switch {
	case !there:
		return "the exchange does not have it"
	case !a.Takes(secret):
		return "the exchange has another secret"
	case !a.Registers:
		return "no device can register for it"
	}
	return ""
}

// Accounts reads back the accounts that Asterisk runs with, by name.
func Accounts(ctx context.Context, m Lister) (map[string]Account, error) {
	endpoints, err := m.List(ctx, ami.NewAction("PJSIPShowEndpoints"))
	if err != nil {
		return nil, err
	}
	auths, err := m.List(ctx, ami.NewAction("PJSIPShowAuths"))
	if err != nil {
		return nil, err
	}
	secrets := make(map[string]Secret, len(auths))
	for _, a := range auths {
		secrets[a.Get("ObjectName")] = Secret(a.Get("Password"))
	}
	out := make(map[string]Account, len(endpoints))
	for _, e := range endpoints {
		account := Account{Registers: e.Get("Aor") != ""}
		for _, name := range strings.FieldsFunc(e.Get("Auths"), func(r rune) bool { return r == ',' || r == ' ' }) {
			if s, ok := secrets[name]; ok {
				account.Secrets = append(account.Secrets, s)
			}
		}
		out[e.Get("ObjectName")] = account
	}
	return out, nil
}

// Lister asks Asterisk for lists, as *ami.Client does.
type Lister interface {
	List(ctx context.Context, a ami.Action) ([]ami.Message, error)
}

// Unserved is an extension that is not in service as it is wanted.
type Unserved struct{ Number, Why string }

func (u Unserved) String() string { return "extension " + u.Number + ": " + u.Why }

// ErrUnserved says that the exchange runs without some of the extensions, or with other secrets. It is wrapped.
var ErrUnserved = errors.New("not in service")

func unservedError(list []Unserved) error {
	const shown = 5
	var words []string
	for _, u := range list[:min(shown, len(list))] {
		words = append(words, u.String())
	}
	if n := len(list) - shown; n > 0 {
		words = append(words, fmt.Sprintf("and %d more", n))
	}
	return fmt.Errorf("pbx: %w: %s", ErrUnserved, strings.Join(words, "; "))
}

// all are the accounts of an exchange, that of the gateway included.
func (d Desired) all() []Extension {
	if d.Gateway == nil {
		return d.Extensions
	}
	return append(slices.Clip(d.Extensions), d.Gateway.Extension)
}

// unserved compares what is wanted with what Asterisk runs with.
func unserved(want Desired, running map[string]Account) (out []Unserved) {
	for _, e := range want.all() {
		account, there := running[e.Number]
		if why := account.lacks(there, e.Secret); why != "" {
			out = append(out, Unserved{e.Number, why})
		}
	}
	return out
}

// accountsInForce returns want with the accounts that Asterisk runs with: with the secrets that it takes, which need not be those that
// are wanted. Extensions that were there before and are no longer wanted stay as long as Asterisk has them.
func accountsInForce(before *Desired, want Desired, running map[string]Account) *Desired {
	after := want
	after.Extensions = nil
	seen := make(map[string]bool)
	add := func(list []Extension) {
		for _, e := range list {
			account := running[e.Number]
			if seen[e.Number] || len(account.Secrets) == 0 {
				continue
			}
			seen[e.Number] = true
			if !account.Takes(e.Secret) {
				e.Secret = account.Secrets[0]
			}
			after.Extensions = append(after.Extensions, e)
		}
	}
	add(want.all())
	if before != nil {
		add(before.Extensions)
	}
	return &after
}

// voicemailWorks reports whether the module of the voice mail has come up: only then does Asterisk know this action.
func voicemailWorks(ctx context.Context, m Lister) (bool, error) {
	_, err := m.List(ctx, ami.NewAction("VoicemailUsersList"))
	var refused *ami.ResponseError
	switch {
	case errors.As(err, &refused):
		return !strings.HasPrefix(refused.Message, "Invalid/unknown command"), nil
	case err != nil:
		return false, err
	}
	return true, nil
}

// Started is when Asterisk was started, to the second.
func Started(ctx context.Context, m *ami.Client) (time.Time, error) {
	status, err := m.Do(ctx, ami.NewAction("CoreStatus"))
	if err != nil {
		return time.Time{}, err
	}
	return time.ParseInLocation(time.DateTime, status.Get("CoreStartupDate")+" "+status.Get("CoreStartupTime"), time.Local)
}
