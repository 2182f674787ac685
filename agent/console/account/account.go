// Package account keeps who may use the console and the API: accounts with a
// password, invitations that become one, and tokens for programs.
//
// There is no first password and no first visitor who becomes an administrator: an
// account begins with an invitation that another administrator, or root, has made.
package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/durable"
)

const (
	// InvitationTime is how long an invitation is good.
	InvitationTime = 24 * time.Hour
	// MinPassword is how many characters a password has at least.
	MinPassword = 12
	// maxPassword bounds what is hashed.
	maxPassword = 256
	// maxEach bounds accounts, invitations and tokens.
	maxEach = 100
	// tokenPrefix lets people and scanners of secrets know a token.
	tokenPrefix = "sae_"
	// usedEvery is how exactly it is known when a token was used last.
	usedEvery = time.Hour
)

// Errors that a person can do something about.
var (
	ErrWrong     = errors.New("name or password is wrong")
	ErrTooOften  = errors.New("too many attempts: wait a minute, then try again")
	ErrNoSuch    = errors.New("there is no such account")
	ErrTaken     = errors.New("there is one with this name: remove it first")
	ErrNotGood   = errors.New("this link is not good, or not any more: have somebody invite you again")
	ErrPassword  = fmt.Errorf("a password has %d to %d characters", MinPassword, maxPassword)
	ErrName      = errors.New("a name has up to 32 small letters, digits, dots, dashes and underscores, and begins with a letter")
	ErrRole      = errors.New("a role is viewer, operator or admin")
	ErrTooMany   = fmt.Errorf("there are %d already", maxEach)
	ErrLastAdmin = errors.New("this is the last administrator")
)

var nameShape = regexp.MustCompile(`^[a-z][a-z0-9._-]{0,31}$`)

// Account is somebody who may do what a role may.
type Account struct {
	control.Account
	// Hash is that of the password, or of an invitation's or token's secret.
	Hash string `json:"hash"`
	// Epoch changes with each password: sessions of an earlier one are over, also those of somebody who had the name
	// before.
	Epoch int `json:"epoch,omitempty"`
	// TOTP is the secret of the account's authenticator app (RFC 6238), base32; empty: the password is enough. TOTPStep
	// is the time step of the code that was used last.
	TOTP     string `json:"totp,omitempty"`
	TOTPStep int64  `json:"totp_step,omitempty"`
	// Handle is by what devices know the account, at random; empty: it never had a passkey.
	Handle   []byte    `json:"handle,omitempty"`
	Passkeys []Passkey `json:"passkeys,omitempty"`
	// Language is that of the pages, where somebody has chosen one; empty: the browser's.
	Language string `json:"language,omitempty"`
}

type file struct {
	Accounts    []Account `json:"accounts"`
	Invitations []Account `json:"invitations"`
	Tokens      []Account `json:"tokens"`
}

// Store is the file of accounts. Its methods may be called from any goroutine.
type Store struct {
	path   string
	now    func() time.Time
	limits *limits
	hasher *hasher

	mu   sync.Mutex // guards the following
	data file
}

// Open reads the file at path, which need not be there yet.
func Open(path string) (*Store, error) {
	s := &Store{path: path, now: time.Now, limits: newLimits(), hasher: newHasher()}
	if _, err := durable.ReadJSON(path, &s.data); err != nil {
		return nil, fmt.Errorf("accounts: %w: give it back from a backup, or remove %s to invite everybody again", err, path)
	}
	return s, nil
}

// change has edit change a copy of what there is, and keeps it once it is on disk.
func (s *Store) change(edit func(*file) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := file{slices.Clone(s.data.Accounts), slices.Clone(s.data.Invitations), slices.Clone(s.data.Tokens)}
	if err := edit(&next); err != nil {
		return err
	}
	data, err := json.MarshalIndent(next, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(s.path), 0o700)
	}
	if err == nil {
		err = durable.WriteFile(s.path, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("accounts: %w", err)
	}
	s.data = next
	return nil
}

func find(list []Account, name string) int {
	return slices.IndexFunc(list, func(a Account) bool { return a.Name == name })
}

// put adds an entry, or replaces the one with its name.
func put(list []Account, a Account) ([]Account, error) {
	if i := find(list, a.Name); i >= 0 {
		list[i] = a
		return list, nil
	}
	if len(list) >= maxEach {
		return nil, ErrTooMany
	}
	return append(list, a), nil
}

func without(list []Account, name string) []Account {
	return slices.DeleteFunc(list, func(a Account) bool { return a.Name == name })
}

func (s *Store) current(list []Account) []Account {
	return slices.DeleteFunc(slices.Clone(list), func(a Account) bool { return !a.Expires.IsZero() && s.now().After(a.Expires) })
}

// List returns all that there is, without secrets.
func (s *Store) List() control.Access {
	s.mu.Lock()
	defer s.mu.Unlock()
	bare := func(list []Account) []control.Account {
		out := []control.Account{}
		for _, a := range s.current(list) {
			a.Account.Passkeys = len(a.Passkeys)
			out = append(out, a.Account)
		}
		return out
	}
	return control.Access{Accounts: bare(s.data.Accounts), Invitations: bare(s.data.Invitations), Tokens: bare(s.data.Tokens)}
}

func check(name string, role control.Role) error {
	switch {
	case !nameShape.MatchString(name):
		return ErrName
	case !role.Valid():
		return ErrRole
	}
	return nil
}

// Invite makes an invitation. One for a name that has an account is for another
// password, and, once it is taken up, another role.
func (s *Store) Invite(name string, role control.Role) (secret string, expires time.Time, err error) {
	if err := check(name, role); err != nil {
		return "", expires, err
	}
	secret, now := newSecret(), s.now()
	expires = now.Add(InvitationTime)
	a := Account{Account: control.Account{Name: name, Role: role, Created: now, Expires: expires}, Hash: hashSecret(secret)}
	return secret, expires, s.change(func(f *file) (err error) {
		f.Invitations, err = put(s.current(f.Invitations), a)
		return err
	})
}

// Invited returns whom an invitation is for.
func (s *Store) Invited(secret string) (Account, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bySecret(s.data.Invitations, secret)
}

func (s *Store) bySecret(list []Account, secret string) (Account, error) {
	hash := hashSecret(secret) // of 256 random bits: no timing tells anything of use
	for _, a := range s.current(list) {
		if a.Hash == hash {
			return a, nil
		}
	}
	return Account{}, ErrNotGood
}

// Accept makes an account out of an invitation, which is used up.
func (s *Store) Accept(ctx context.Context, secret, password string) (Account, error) {
	if _, err := s.Invited(secret); err != nil {
		return Account{}, err
	}
	hash, err := s.hashPassword(ctx, password)
	if err != nil {
		return Account{}, err
	}
	var made Account
	err = s.change(func(f *file) error {
		inv, err := s.bySecret(f.Invitations, secret)
		if err != nil {
			return err // somebody else was faster
		}
		now := s.now()
		made = Account{Account: control.Account{Name: inv.Name, Role: inv.Role, Created: now, LastUsed: now}, Hash: hash, Epoch: newEpoch()}
		if i := find(f.Accounts, inv.Name); i >= 0 {
			made.Created, made.Language = f.Accounts[i].Created, f.Accounts[i].Language
		}
		f.Invitations = without(f.Invitations, inv.Name)
		f.Accounts, err = put(f.Accounts, made)
		return err
	})
	return made, err
}

func (s *Store) hashPassword(ctx context.Context, password string) (string, error) {
	if n := utf8.RuneCountInString(password); n < MinPassword || n > maxPassword {
		return "", ErrPassword
	}
	return s.hasher.hash(ctx, password)
}

// Login returns the account of a name and its password, and with a second factor a code of it. Attempts are limited for
// each name and for each address.
func (s *Store) Login(ctx context.Context, name, password, code, from string) (Account, error) {
	if len(password) > 4*maxPassword || len(name) > 64 {
		return Account{}, ErrWrong
	}
	if !s.limits.allow(s.now(), name, from) {
		return Account{}, ErrTooOften
	}
	a, known := s.Get(name)
	ok, err := s.hasher.verify(ctx, a.Hash, password) // takes as long for a name that nobody has
	if err != nil {
		return Account{}, err
	}
	if !ok || !known {
		return Account{}, ErrWrong
	}
	err = s.change(func(f *file) error {
		i := find(f.Accounts, name)
		if i < 0 || f.Accounts[i].Epoch != a.Epoch {
			return ErrWrong
		}
		if secret := f.Accounts[i].TOTP; secret != "" {
			step, ok := matchingStep(secret, code, s.now(), f.Accounts[i].TOTPStep)
			if !ok {
				return ErrCode
			}
			f.Accounts[i].TOTPStep = step
		}
		f.Accounts[i].LastUsed = s.now()
		return nil
	})
	if err == nil {
		s.limits.forgive(name, from)
	}
	return a, err
}

// Get returns an account by its name.
func (s *Store) Get(name string) (Account, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := find(s.data.Accounts, name); i >= 0 {
		return s.data.Accounts[i], true
	}
	return Account{}, false
}

// SetPassword gives an account another password, if the old one is right.
func (s *Store) SetPassword(ctx context.Context, name, old, code, password, from string) (Account, error) {
	a, err := s.Login(ctx, name, old, code, from)
	if err != nil {
		return Account{}, err
	}
	hash, err := s.hashPassword(ctx, password)
	if err != nil {
		return Account{}, err
	}
	return s.edit(name, a.Epoch, func(a *Account) { a.Hash, a.Epoch = hash, newEpoch() })
}

// SetLanguage keeps the language that somebody wants pages in.
func (s *Store) SetLanguage(name, lang string) error {
	return s.change(func(f *file) error {
		i := find(f.Accounts, name)
		if i < 0 {
			return ErrNoSuch
		}
		f.Accounts[i].Language = lang
		return nil
	})
}

// Remove removes an account and an invitation of a name.
func (s *Store) Remove(name string) error {
	return s.change(func(f *file) error {
		i := find(f.Accounts, name)
		if i < 0 && find(f.Invitations, name) < 0 {
			return ErrNoSuch
		}
		admins := slices.DeleteFunc(slices.Clone(f.Accounts), func(a Account) bool { return a.Role != control.Admin })
		if i >= 0 && len(admins) == 1 && admins[0].Name == name {
			return ErrLastAdmin
		}
		f.Accounts, f.Invitations = without(f.Accounts, name), without(f.Invitations, name)
		return nil
	})
}

// NewToken makes a token for the API.
func (s *Store) NewToken(name string, role control.Role, lifetime time.Duration) (secret string, expires time.Time, err error) {
	if err := check(name, role); err != nil {
		return "", expires, err
	}
	secret, now := tokenPrefix+newSecret(), s.now()
	expires = now.Add(lifetime)
	a := Account{Account: control.Account{Name: name, Role: role, Created: now, Expires: expires}, Hash: hashSecret(secret)}
	return secret, expires, s.change(func(f *file) (err error) {
		f.Tokens = s.current(f.Tokens)
		if find(f.Tokens, name) >= 0 {
			return ErrTaken
		}
		f.Tokens, err = put(f.Tokens, a)
		return err
	})
}

// Token returns whose a token is.
func (s *Store) Token(secret string) (Account, error) {
	if !strings.HasPrefix(secret, tokenPrefix) {
		return Account{}, ErrNotGood
	}
	s.mu.Lock()
	a, err := s.bySecret(s.data.Tokens, secret)
	s.mu.Unlock()
	if now := s.now(); err == nil && now.Sub(a.LastUsed) > usedEvery {
		_ = s.change(func(f *file) error { // what cannot be written is only when it was used
			if i := find(f.Tokens, a.Name); i >= 0 {
				f.Tokens[i].LastUsed = now
			}
			return nil
		})
	}
	return a, err
}

// RemoveToken removes a token by its name.
func (s *Store) RemoveToken(name string) error {
	return s.change(func(f *file) error {
		if find(f.Tokens, name) < 0 {
			return ErrNoSuch
		}
		f.Tokens = without(f.Tokens, name)
		return nil
	})
}

func newSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails, crypto/rand
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func newEpoch() int { return mrand.Int() }

func hashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return base64.RawStdEncoding.EncodeToString(sum[:])
}
