package account

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
)

const password = "correct horse battery"

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "console", "accounts.json"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *Store) make(t *testing.T, name string, role control.Role) Account {
	t.Helper()
	secret, _, err := s.Invite(name, role)
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.Accept(t.Context(), secret, password)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// What is kept survives a restart, is nobody else's to read, and has no secret in it.
func TestStore(t *testing.T) {
	s := open(t)
	s.make(t, "alice", control.Admin)
	token, _, err := s.NewToken("nagios", control.Viewer, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	invitation, _, err := s.Invite("bob", control.Operator)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{password, token, invitation} {
		if strings.Contains(string(data), secret) {
			t.Errorf("the file has a secret")
		}
	}
	if !strings.Contains(string(data), "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("the file has %s", data)
	}
	if fi, err := os.Stat(s.path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	again, err := Open(s.path)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := again.Login(t.Context(), "alice", password, "", "192.168.1.9"); err != nil || a.Role != control.Admin {
		t.Errorf("%+v %v", a, err)
	}
	if a, err := again.Token(token); err != nil || a.Name != "nagios" {
		t.Errorf("%+v %v", a, err)
	}
	if a, err := again.Invited(invitation); err != nil || a.Name != "bob" {
		t.Errorf("%+v %v", a, err)
	}
	if _, err := again.Login(t.Context(), "alice", "wrong", "", "192.168.1.9"); !errors.Is(err, ErrWrong) {
		t.Error(err)
	}
	if _, err := again.Login(t.Context(), "nobody", "", "", "192.168.1.9"); !errors.Is(err, ErrWrong) {
		t.Error(err)
	}
	if err := again.Remove("alice"); !errors.Is(err, ErrLastAdmin) {
		t.Errorf("the last administrator: %v", err)
	}
	if err := os.WriteFile(s.path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(s.path); err == nil {
		t.Error("a broken file is taken for an empty one")
	}
}

// Everything ends.
func TestEnds(t *testing.T) {
	s := open(t)
	now := time.Now()
	s.now = func() time.Time { return now }
	token, _, err := s.NewToken("x", control.Viewer, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	invitation, _, err := s.Invite("bob", control.Operator)
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(InvitationTime + time.Second)
	if _, err := s.Token(token); !errors.Is(err, ErrNotGood) {
		t.Errorf("token: %v", err)
	}
	if _, err := s.Accept(t.Context(), invitation, password); !errors.Is(err, ErrNotGood) {
		t.Errorf("invitation: %v", err)
	}
	for _, secret := range []string{"", "sae_", tokenPrefix + invitation} {
		if _, err := s.Token(secret); !errors.Is(err, ErrNotGood) {
			t.Errorf("%q: %v", secret, err)
		}
	}
	if l := s.List(); len(l.Tokens)+len(l.Invitations) != 0 {
		t.Errorf("%+v", l)
	}
}

// Another password, or another invitation, ends the sessions of the one before.
func TestEpoch(t *testing.T) {
	s := open(t)
	a := s.make(t, "alice", control.Viewer)
	b, err := s.SetPassword(t.Context(), "alice", password, "", "another good password", "192.168.1.9")
	if err != nil || b.Epoch == a.Epoch {
		t.Errorf("%+v %v", b, err)
	}
	if _, err := s.SetPassword(t.Context(), "alice", password, "", "another good password", "192.168.1.9"); !errors.Is(err, ErrWrong) {
		t.Error(err)
	}
	if c := s.make(t, "alice", control.Admin); c.Epoch == b.Epoch || c.Role != control.Admin {
		t.Errorf("%+v", c)
	}
	// Who gets a name that somebody else had does not get their sessions.
	s.make(t, "root", control.Admin)
	bob := s.make(t, "bob", control.Viewer)
	if err := s.Remove("bob"); err != nil {
		t.Fatal(err)
	}
	if again := s.make(t, "bob", control.Viewer); again.Epoch == bob.Epoch {
		t.Error("a new account has the epoch of the old one")
	}
}

func TestNames(t *testing.T) {
	s := open(t)
	for _, name := range []string{"", "Alice", "1", "a b", "<b>", strings.Repeat("a", 33), "a/b"} {
		if _, _, err := s.Invite(name, control.Viewer); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, _, err := s.Invite("a", "root"); !errors.Is(err, ErrRole) {
		t.Error(err)
	}
	if _, _, err := s.NewToken("a", control.Viewer, time.Hour); err != nil {
		t.Error(err)
	}
	if _, _, err := s.NewToken("a", control.Viewer, time.Hour); !errors.Is(err, ErrTaken) {
		t.Error(err)
	}
}

// Of ten thousand attempts few cost a hash, and nobody else is locked out by them.
func TestTenThousandLogins(t *testing.T) {
	s := open(t)
	s.make(t, "alice", control.Admin)
	hashed := 0
	for range 10000 {
		if _, err := s.Login(t.Context(), "alice", "wrong", "", "192.168.1.66"); errors.Is(err, ErrWrong) {
			hashed++
		}
	}
	if hashed > 50 {
		t.Errorf("%d passwords were hashed", hashed)
	}
	if _, err := s.Login(t.Context(), "alice", password, "", "192.168.1.7"); err != nil {
		t.Error(err)
	}
}

// The limits are for an address and for a name; they come back with time.
func TestLimits(t *testing.T) {
	l, now := newLimits(), time.Now()
	n := 0
	for range 100 {
		if l.allow(now, "alice", "192.168.1.66") {
			n++
		}
	}
	if n != perAddress {
		t.Errorf("%d attempts from one address", n)
	}
	if !l.allow(now, "alice", "192.168.1.7") {
		t.Error("another address is locked out at once")
	}
	for i := range 1000 {
		l.allow(now, "alice", string(rune('a'+i)))
	}
	if l.allow(now, "alice", "192.168.1.8") {
		t.Error("a name can be tried from any number of addresses")
	}
	if !l.allow(now.Add(2*nameEvery), "alice", "192.168.1.8") {
		t.Error("it does not come back")
	}
	for i := range 3 * maxLimits {
		l.allow(now, string(rune(i)), string(rune(i)))
	}
	if len(l.names) > maxLimits || len(l.addresses) > maxLimits {
		t.Errorf("%d names, %d addresses are remembered", len(l.names), len(l.addresses))
	}
}
