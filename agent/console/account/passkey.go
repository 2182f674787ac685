package account

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxPasskeys bounds those of an account.
	MaxPasskeys = 10
	// MaxPasskeyName is how many characters a passkey's name has at most.
	MaxPasskeyName = 40
)

// Errors of passkeys.
var (
	ErrPasskey      = errors.New("this passkey is not known here, or not any more")
	ErrCopied       = errors.New("this passkey has counted backwards, as a copy of it would: log in with your password, and remove it")
	ErrPasskeyName  = fmt.Errorf("a passkey has a name of up to %d characters", MaxPasskeyName)
	ErrManyPasskeys = fmt.Errorf("there are %d passkeys already: remove one first", MaxPasskeys)
	ErrKnownPasskey = errors.New("this passkey is there already")
)

// Passkey is a key that somebody's device holds (WebAuthn); the account has the public half of it.
type Passkey struct {
	ID   []byte `json:"id"`
	Name string `json:"name"`
	// Host is the name of ours that it is for: devices keep passkeys by it.
	Host      string    `json:"host"`
	PublicKey []byte    `json:"public_key"` // COSE
	SignCount uint32    `json:"sign_count,omitempty"`
	Flags     byte      `json:"flags"` // of the authenticator data that came last
	Added     time.Time `json:"added"`
	LastUsed  time.Time `json:"last_used,omitzero"`
}

// Key names a passkey in a form.
func (p Passkey) Key() string { return base64.RawURLEncoding.EncodeToString(p.ID) }

// CheckPasskey returns why an account cannot have another passkey of a name.
func (a Account) CheckPasskey(name string) error {
	if n := utf8.RuneCountInString(name); n == 0 || n > MaxPasskeyName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return ErrPasskeyName
	}
	if len(a.Passkeys) >= MaxPasskeys {
		return ErrManyPasskeys
	}
	return nil
}

// AddPasskey gives an account, which nobody has changed since it had this epoch, one more passkey. The device knows the
// account by handle.
func (s *Store) AddPasskey(name string, epoch int, handle []byte, p Passkey) error {
	return s.change(func(f *file) error {
		i := find(f.Accounts, name)
		if i < 0 || f.Accounts[i].Epoch != epoch {
			return ErrNoSuch
		}
		a := &f.Accounts[i]
		if err := a.CheckPasskey(p.Name); err != nil {
			return err
		}
		if len(a.Passkeys) > 0 && !bytes.Equal(a.Handle, handle) {
			return ErrPasskey // another one came first
		}
		for _, other := range f.Accounts {
			if other.IndexPasskey(p.ID) >= 0 {
				return ErrKnownPasskey
			}
		}
		p.Added = s.now()
		a.Handle, a.Passkeys = handle, append(slices.Clone(a.Passkeys), p)
		return nil
	})
}

// IndexPasskey returns which of an account's passkeys has an ID; -1: none.
func (a Account) IndexPasskey(id []byte) int {
	return slices.IndexFunc(a.Passkeys, func(p Passkey) bool { return bytes.Equal(p.ID, id) })
}

// RemovePasskey takes a passkey off an account, for who knows its password. Sessions are over: it may have begun them.
func (s *Store) RemovePasskey(ctx context.Context, name, password, code, key, from string) (Account, Passkey, error) {
	a, err := s.Login(ctx, name, password, code, from)
	if err != nil {
		return Account{}, Passkey{}, err
	}
	i := slices.IndexFunc(a.Passkeys, func(p Passkey) bool { return p.Key() == key })
	if i < 0 {
		return Account{}, Passkey{}, ErrPasskey
	}
	removed := a.Passkeys[i]
	a, err = s.edit(name, a.Epoch, func(a *Account) {
		a.Passkeys = slices.DeleteFunc(slices.Clone(a.Passkeys), func(p Passkey) bool { return p.Key() == key })
		a.Epoch = newEpoch()
	})
	return a, removed, err
}

// RemovePasskeys takes all passkeys off an account, and ends its sessions: for a device that was lost.
func (s *Store) RemovePasskeys(name string) error {
	return s.change(func(f *file) error {
		i := find(f.Accounts, name)
		if i < 0 {
			return ErrNoSuch
		}
		f.Accounts[i].Handle, f.Accounts[i].Passkeys, f.Accounts[i].Epoch = nil, nil, newEpoch()
		return nil
	})
}

// LoginPasskey returns the account that devices know by handle, once verify has found which of its passkeys has answered,
// and the passkey as it is from now on. Attempts are limited as those with a password are; a passkey stands for password
// and code together. verify gets an account without passkeys where nobody is known by handle, and must fail. With an
// error, account and passkey are what is known of them.
func (s *Store) LoginPasskey(handle []byte, from string, verify func(Account) (Passkey, error)) (a Account, used Passkey, err error) {
	if !s.limits.allow(s.now(), s.ownerOf(handle), from) {
		return Account{}, Passkey{}, ErrTooOften
	}
	err = s.change(func(f *file) (err error) {
		i := withHandle(f.Accounts, handle)
		if i >= 0 {
			a = f.Accounts[i]
		}
		if used, err = verify(a); err != nil {
			return err
		}
		at := a.IndexPasskey(used.ID)
		if at < 0 {
			return ErrPasskey
		}
		used.LastUsed = s.now()
		a.LastUsed, a.Passkeys = used.LastUsed, slices.Clone(a.Passkeys)
		a.Passkeys[at] = used
		f.Accounts[i] = a
		return nil
	})
	if err == nil {
		s.limits.forgive(a.Name, from)
	}
	return a, used, err
}

// ownerOf returns the name of the account that devices know by handle; "" if there is none.
func (s *Store) ownerOf(handle []byte) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := withHandle(s.data.Accounts, handle); i >= 0 {
		return s.data.Accounts[i].Name
	}
	return ""
}

func withHandle(list []Account, handle []byte) int {
	return slices.IndexFunc(list, func(a Account) bool { return len(handle) > 0 && bytes.Equal(a.Handle, handle) })
}
