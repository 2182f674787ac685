package passkey

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/console/account"
	"github.com/sae-agent/sae-agent/agent/console/passkey/passkeytest"
	"github.com/sae-agent/sae-agent/agent/control"
)

const from = "192.168.1.9"

var here = Place{"sae.local", "https://sae.local:9443"}

// site is a console with the account of somebody whose device has a passkey.
type site struct {
	*Questions
	t        *testing.T
	now      time.Time
	file     string // of the accounts
	accounts *account.Store
	device   *passkeytest.Device
}

func newDesk(t *testing.T) *site {
	t.Helper()
	d := openDesk(t, filepath.Join(t.TempDir(), "accounts.json"), passkeytest.New(t, here.Origin))
	d.invite("alice")
	if err := d.add("alice", d.device); err != nil {
		t.Fatal(err)
	}
	return d
}

func openDesk(t *testing.T, file string, device *passkeytest.Device) *site {
	t.Helper()
	d := &site{Questions: New("sae303"), t: t, now: time.Now(), file: file, device: device}
	d.Questions.now = func() time.Time { return d.now }
	var err error
	if d.accounts, err = account.Open(file); err != nil {
		t.Fatal(err)
	}
	return d
}

// copy is another console with the same accounts: a password takes long to hash.
func (d *site) copy(t *testing.T) *site {
	t.Helper()
	data, err := os.ReadFile(d.file)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "accounts.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	device := *d.device
	device.T = t
	return openDesk(t, file, &device)
}

func (d *site) invite(name string) {
	d.t.Helper()
	secret, _, err := d.accounts.Invite(name, control.Admin)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := d.accounts.Accept(d.t.Context(), secret, "correct horse battery"); err != nil {
		d.t.Fatal(err)
	}
}

func (d *site) add(name string, device *passkeytest.Device) error {
	d.t.Helper()
	a, _ := d.accounts.Get(name)
	secret, options, err := d.AskNew(here, from, a, "laptop")
	if err != nil {
		return err
	}
	return d.keep(d.Made(secret, here, device.Create(options)))
}

func (d *site) keep(m Made, err error) error {
	if err != nil {
		return err
	}
	return d.accounts.AddPasskey(m.Account, m.Epoch, m.Handle, m.Passkey)
}

func (d *site) ask() (secret, options string) {
	d.t.Helper()
	secret, options, err := d.AskLogin(here, from)
	if err != nil {
		d.t.Fatal(err)
	}
	return secret, options
}

func (d *site) login(secret, answer string) (account.Account, error) {
	l := d.Login(secret, here, answer)
	a, used, err := d.accounts.LoginPasskey(l.Handle, from, l.Verify)
	if err == nil && used.Name != "laptop" {
		err = fmt.Errorf("the passkey is %q", used.Name)
	}
	return a, err
}

func TestLogin(t *testing.T) {
	d := newDesk(t)
	for range 3 {
		secret, options := d.ask()
		a, err := d.login(secret, d.device.Get(options))
		if err != nil || a.Name != "alice" {
			t.Fatalf("%+v %v", a, err)
		}
	}
	a, _ := d.accounts.Get("alice")
	if p := a.Passkeys[0]; p.SignCount != 3 || p.LastUsed.IsZero() || p.Host != here.Host {
		t.Errorf("%+v", p)
	}
	// Many devices do not count.
	phone := passkeytest.New(t, here.Origin)
	if err := d.add("alice", phone); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		secret, options := d.ask()
		phone.Count-- // to none again
		phone.Count = ^uint32(0)
		if _, err := d.login(secret, phone.Get(options)); err != nil {
			t.Error(err)
		}
	}
	if l := d.accounts.List(); l.Accounts[0].Passkeys != 2 {
		t.Errorf("the list says %+v", l.Accounts)
	}
}

// What is no answer of the right device, to this question, from this browser, now and here, logs nobody in.
func TestRefusedLogins(t *testing.T) {
	both := newDesk(t)
	both.invite("bob")
	other := Place{"sae303.example", "https://sae303.example:9443"}
	for name, c := range map[string]struct {
		try  func(d *site, secret, options string) (account.Account, error)
		want error
	}{
		"the same answer once more": {func(d *site, secret, options string) (account.Account, error) {
			answer := d.device.Get(options)
			if _, err := d.login(secret, answer); err != nil {
				return account.Account{}, fmt.Errorf("the first time: %w", err)
			}
			return d.login(secret, answer)
		}, ErrExpired},
		"an old answer to a new question": {func(d *site, _, options string) (account.Account, error) {
			answer := d.device.Get(options)
			secret, _ := d.ask()
			return d.login(secret, answer)
		}, account.ErrPasskey},
		"a question used up by a wrong answer": {func(d *site, secret, options string) (account.Account, error) {
			if _, err := d.login(secret, "{}"); !errors.Is(err, account.ErrPasskey) {
				return account.Account{}, fmt.Errorf("the wrong answer: %w", err)
			}
			return d.login(secret, d.device.Get(options))
		}, ErrExpired},
		"another browser": {func(d *site, _, options string) (account.Account, error) {
			another, _ := d.ask()
			return d.login(another, d.device.Get(options))
		}, account.ErrPasskey},
		"a browser without a secret": {func(d *site, _, options string) (account.Account, error) { return d.login("", d.device.Get(options)) }, ErrExpired},
		"too late": {func(d *site, secret, options string) (account.Account, error) {
			d.now = d.now.Add(AnswerTime + time.Second)
			return d.login(secret, d.device.Get(options))
		}, ErrExpired},
		"another place": {func(d *site, secret, options string) (account.Account, error) {
			l := d.Login(secret, other, d.device.Get(options))
			a, _, err := d.accounts.LoginPasskey(l.Handle, from, l.Verify)
			return a, err
		}, ErrExpired},
		"another program's page on this machine": {func(d *site, secret, options string) (account.Account, error) {
			d.device.Origin = "https://sae.local:7443"
			return d.login(secret, d.device.Get(options))
		}, account.ErrPasskey},
		"a page over plain HTTP": {func(d *site, secret, options string) (account.Account, error) {
			d.device.Origin = "http://sae.local:9443"
			return d.login(secret, d.device.Get(options))
		}, account.ErrPasskey},
		"another site": {func(d *site, secret, options string) (account.Account, error) {
			d.device.Origin = "https://evil.example"
			return d.login(secret, d.device.Get(options))
		}, account.ErrPasskey},
		"for another name": {func(d *site, secret, options string) (account.Account, error) {
			d.device.Host = "evil.example"
			return d.login(secret, d.device.Get(options))
		}, account.ErrPasskey},
		"a passkey of another name of ours": {func(d *site, _, _ string) (account.Account, error) {
			secret, options, err := d.AskLogin(other, from)
			if err != nil {
				return account.Account{}, err
			}
			d.device.Origin = other.Origin
			l := d.Login(secret, other, d.device.Get(options))
			a, _, err := d.accounts.LoginPasskey(l.Handle, from, l.Verify)
			return a, err
		}, account.ErrPasskey},
		"nobody has shown who they are": {func(d *site, secret, options string) (account.Account, error) {
			d.device.Flags = passkeytest.Present
			return d.login(secret, d.device.Get(options))
		}, account.ErrPasskey},
		"nobody is there": {func(d *site, secret, options string) (account.Account, error) {
			d.device.Flags = passkeytest.Verified
			return d.login(secret, d.device.Get(options))
		}, account.ErrPasskey},
		"a copy that has signed less": {func(d *site, secret, options string) (account.Account, error) {
			d.device.Count = 10
			if _, err := d.login(secret, d.device.Get(options)); err != nil {
				return account.Account{}, fmt.Errorf("before: %w", err)
			}
			secret, options = d.ask()
			d.device.Count = 4
			return d.login(secret, d.device.Get(options))
		}, account.ErrCopied},
		"a passkey that was removed": {func(d *site, secret, options string) (account.Account, error) {
			a, _ := d.accounts.Get("alice")
			if err := d.add("alice", passkeytest.New(d.t, here.Origin)); err != nil {
				return a, err
			}
			if _, _, err := d.accounts.RemovePasskey(d.t.Context(), "alice", "correct horse battery", "", a.Passkeys[0].Key(), from); err != nil {
				return a, err
			}
			return d.login(secret, d.device.Get(options))
		}, account.ErrPasskey},
		"all were removed": {func(d *site, secret, options string) (account.Account, error) {
			if err := d.accounts.RemovePasskeys("alice"); err != nil {
				return account.Account{}, err
			}
			return d.login(secret, d.device.Get(options))
		}, account.ErrPasskey},
		"the account was removed": {func(d *site, secret, options string) (account.Account, error) {
			if err := d.accounts.Remove("alice"); err != nil {
				return account.Account{}, err
			}
			return d.login(secret, d.device.Get(options))
		}, account.ErrPasskey},
		"the account was invited again": {func(d *site, secret, options string) (account.Account, error) {
			d.invite("alice")
			return d.login(secret, d.device.Get(options))
		}, account.ErrPasskey},
		"in somebody else's name": {func(d *site, secret, options string) (account.Account, error) {
			bobs := passkeytest.New(d.t, here.Origin)
			if err := d.add("bob", bobs); err != nil {
				return account.Account{}, err
			}
			d.device.Handle = bobs.Handle
			return d.login(secret, d.device.Get(options))
		}, account.ErrPasskey},
		"in nobody's name": {func(d *site, secret, options string) (account.Account, error) {
			d.device.Handle = nil
			return d.login(secret, d.device.Get(options))
		}, account.ErrPasskey},
		"another key": {func(d *site, secret, options string) (account.Account, error) {
			thief := passkeytest.New(d.t, here.Origin)
			thief.Create(`{"user": {"id": "AA"}}`)
			thief.ID, thief.Handle = d.device.ID, d.device.Handle
			return d.login(secret, thief.Get(options))
		}, account.ErrPasskey},
		"the answer to a registration": {func(d *site, _, _ string) (account.Account, error) {
			a, _ := d.accounts.Get("alice")
			secret, options, err := d.AskNew(here, from, a, "x")
			if err != nil {
				return a, err
			}
			return d.login(secret, d.device.Get(options))
		}, ErrExpired},
		"nonsense": {func(d *site, secret, _ string) (account.Account, error) { return d.login(secret, "nonsense") }, account.ErrPasskey},
		"an answer without end": {func(d *site, secret, options string) (account.Account, error) {
			return d.login(secret, d.device.Get(options)+strings.Repeat(" ", maxAnswer))
		}, account.ErrPasskey},
	} {
		t.Run(name, func(t *testing.T) {
			d := both.copy(t)
			secret, options := d.ask()
			a, err := c.try(d, secret, options)
			t.Log(err)
			if !errors.Is(err, c.want) {
				t.Errorf("%q: %v, want %v", a.Name, err, c.want)
			}
		})
	}
}

func TestRefusedPasskeys(t *testing.T) {
	d := newDesk(t)
	d.invite("bob")
	for name, edit := range map[string]func(*passkeytest.Device){
		"on another site":                       func(d *passkeytest.Device) { d.Origin = "https://evil.example" },
		"for another name":                      func(d *passkeytest.Device) { d.Host = "evil.example" },
		"without anybody showing who they are":  func(d *passkeytest.Device) { d.Flags = passkeytest.Present },
		"with what somebody else says of it":    func(d *passkeytest.Device) { d.Format = "android-safetynet" },
		"with a signature that is not there":    func(d *passkeytest.Device) { d.Format = "packed" },
		"on another program's page on this one": func(d *passkeytest.Device) { d.Origin = "https://sae.local:7443" },
	} {
		t.Run(name, func(t *testing.T) {
			device := passkeytest.New(t, here.Origin)
			edit(device)
			err := d.add("bob", device)
			t.Log(err)
			if !errors.Is(err, account.ErrPasskey) {
				t.Error(err)
			}
			if a, _ := d.accounts.Get("bob"); len(a.Passkeys) > 0 {
				t.Error("it is kept all the same")
			}
		})
	}
	a, _ := d.accounts.Get("alice")
	for _, name := range []string{"", strings.Repeat("é", account.MaxPasskeyName+1), "a\nb", "\xff"} {
		if _, _, err := d.AskNew(here, from, a, name); !errors.Is(err, account.ErrPasskeyName) {
			t.Errorf("the name %q: %v", name, err)
		}
	}
	// Two that were begun by an account without one do not become one of an unknown handle.
	b, _ := d.accounts.Get("bob")
	first, options, err := d.AskNew(here, from, b, "first")
	if err != nil {
		t.Fatal(err)
	}
	second, others, err := d.AskNew(here, from, b, "second")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.keep(d.Made(first, here, passkeytest.New(t, here.Origin).Create(options))); err != nil {
		t.Error(err)
	}
	if err := d.keep(d.Made(second, here, passkeytest.New(t, here.Origin).Create(others))); !errors.Is(err, account.ErrPasskey) {
		t.Errorf("a second handle: %v", err)
	}
	// The password changes while the device is asked.
	a, _ = d.accounts.Get("alice")
	secret, options, err := d.AskNew(here, from, a, "late")
	if err != nil {
		t.Fatal(err)
	}
	d.invite("alice")
	if err := d.keep(d.Made(secret, here, passkeytest.New(t, here.Origin).Create(options))); !errors.Is(err, account.ErrNoSuch) {
		t.Errorf("after another password: %v", err)
	}
}

func TestNumberOfPasskeys(t *testing.T) {
	d := newDesk(t)
	for range account.MaxPasskeys - 1 {
		if err := d.add("alice", passkeytest.New(t, here.Origin)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.add("alice", passkeytest.New(t, here.Origin)); !errors.Is(err, account.ErrManyPasskeys) {
		t.Error(err)
	}
	a, _ := d.accounts.Get("alice")
	p := a.Passkeys[0]
	d.invite("bob")
	b, _ := d.accounts.Get("bob")
	if err := d.accounts.AddPasskey("bob", b.Epoch, []byte("bob"), p); !errors.Is(err, account.ErrKnownPasskey) {
		t.Errorf("alice's passkey for bob: %v", err)
	}
}

// Whoever asks without end pushes out their own questions, and the number of all is bounded.
func TestManyQuestions(t *testing.T) {
	d := newDesk(t)
	secret, options := d.ask()
	for range 3 * maxPerAddress {
		if _, _, err := d.AskLogin(here, "192.168.1.66"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.login(secret, d.device.Get(options)); err != nil {
		t.Errorf("alice's question is gone: %v", err)
	}
	if n := len(d.list); n != maxPerAddress {
		t.Errorf("%d questions of one address", n)
	}
	for i := range maxQuestions + 10 {
		if _, _, err := d.AskLogin(here, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(d.list); n > maxQuestions {
		t.Errorf("%d questions", n)
	}
	d.now = d.now.Add(AnswerTime + time.Second)
	d.ask()
	if n := len(d.list); n != 1 {
		t.Errorf("%d questions after their time", n)
	}
}

// Guesses are as few as those of passwords, and lock nobody else out.
func TestManyAnswers(t *testing.T) {
	d := newDesk(t)
	refused := map[bool]int{}
	for range 50 {
		secret, _ := d.ask()
		_, err := d.login(secret, "{}")
		refused[errors.Is(err, account.ErrTooOften)]++
	}
	if refused[false] > 6 {
		t.Errorf("%v", refused)
	}
	secret, options := d.ask()
	l := d.Login(secret, here, d.device.Get(options))
	if _, _, err := d.accounts.LoginPasskey(l.Handle, "192.168.1.7", l.Verify); err != nil {
		t.Error(err)
	}
}
