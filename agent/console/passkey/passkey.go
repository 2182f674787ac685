// Package passkey asks browsers for passkeys (WebAuthn level 3) and judges their answers.
//
// A question is kept here, good once and for a short time, for the browser that has a secret; what an answer is worth is
// found with package webauthn.
package passkey

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/sae-agent/sae-agent/agent/console/account"
)

const (
	// AnswerTime is how long a question is good.
	AnswerTime = 3 * time.Minute
	// maxQuestions bounds those that wait for an answer, maxPerAddress those of one address: whoever asks for many
	// pushes out their own first.
	maxQuestions, maxPerAddress = 1024, 16
	// handleSize is how many random bytes devices know an account by.
	handleSize = 32
	// maxAnswer bounds what is parsed.
	maxAnswer = 16 << 10
)

// ErrExpired is the error of an answer to a question that was not put to this browser, or not lately.
var ErrExpired = errors.New("that took too long, or was begun elsewhere: begin again")

// Place is where a browser has asked for us. Passkeys are for a name, and made on pages of one origin.
type Place struct{ Host, Origin string }

// Questions are those that wait for their answers. Its methods may be called from any goroutine.
type Questions struct {
	site string // that devices show
	now  func() time.Time

	mu   sync.Mutex // guards the following
	list map[[sha256.Size]byte]*question
}

// question is one challenge.
type question struct {
	place   Place
	from    string // address
	asked   time.Time
	session webauthn.SessionData
	adds    *addition // nil: it is for a login
}

// addition is what a new passkey is for.
type addition struct {
	account account.Account
	name    string // of the passkey
	handle  []byte
}

// New returns no questions. Devices show the site beside their passkeys.
func New(site string) *Questions {
	return &Questions{site: site, now: time.Now, list: make(map[[sha256.Size]byte]*question)}
}

// party is what package webauthn has to know of a place.
func (q *Questions) party(at Place) (*webauthn.WebAuthn, error) {
	return webauthn.New(&webauthn.Config{
		RPID: at.Host, RPDisplayName: "sae-agent " + q.site, RPOrigins: []string{at.Origin},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: protocol.ResidentKeyRequired(),
			UserVerification: protocol.VerificationRequired,
		},
		Timeouts: webauthn.TimeoutsConfig{
			Login: webauthn.TimeoutConfig{Timeout: AnswerTime}, Registration: webauthn.TimeoutConfig{Timeout: AnswerTime},
		},
		// Some password managers tell more than they were asked; nothing here is decided by it.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
}

// user is an account as package webauthn sees it: with the passkeys that are for one name.
type user struct {
	account account.Account
	handle  []byte
	host    string
}

func (u user) WebAuthnID() []byte          { return u.handle }
func (u user) WebAuthnName() string        { return u.account.Name }
func (u user) WebAuthnDisplayName() string { return u.account.Name }

func (u user) WebAuthnCredentials() (out []webauthn.Credential) {
	for _, p := range u.account.Passkeys {
		if p.Host == u.host {
			out = append(out, webauthn.Credential{
				ID: p.ID, PublicKey: p.PublicKey, Flags: webauthn.NewCredentialFlags(protocol.AuthenticatorFlags(p.Flags)),
				Authenticator: webauthn.Authenticator{SignCount: p.SignCount},
			})
		}
	}
	return out
}

// AskLogin has a browser ask for any passkey of this place. The secret is for that browser alone; options are what its
// script needs.
func (q *Questions) AskLogin(at Place, from string) (secret, options string, err error) {
	party, err := q.party(at)
	if err != nil {
		return "", "", fmt.Errorf("passkey: %w", err)
	}
	request, session, err := party.BeginDiscoverableLogin()
	if err != nil {
		return "", "", fmt.Errorf("passkey: %w", err)
	}
	return q.put(&question{place: at, from: from, session: *session}, request.Response)
}

// AskNew has a browser make a passkey for an account.
func (q *Questions) AskNew(at Place, from string, a account.Account, name string) (secret, options string, err error) {
	if err := a.CheckPasskey(name); err != nil {
		return "", "", err
	}
	handle := a.Handle
	if len(handle) == 0 {
		handle = make([]byte, handleSize)
		_, _ = rand.Read(handle) // never fails, crypto/rand
	}
	u := user{a, handle, at.Host}
	party, err := q.party(at)
	if err != nil {
		return "", "", fmt.Errorf("passkey: %w", err)
	}
	request, session, err := party.BeginRegistration(u, webauthn.WithExclusions(webauthn.Credentials(u.WebAuthnCredentials()).CredentialDescriptors()))
	if err != nil {
		return "", "", fmt.Errorf("passkey: %w", err)
	}
	return q.put(&question{place: at, from: from, session: *session, adds: &addition{a, name, handle}}, request.Response)
}

// put keeps a question.
func (q *Questions) put(asked *question, forBrowser any) (secret, options string, err error) {
	data, err := json.Marshal(forBrowser)
	if err != nil {
		return "", "", fmt.Errorf("passkey: %w", err)
	}
	secret = rand.Text()
	q.mu.Lock()
	defer q.mu.Unlock()
	asked.asked = q.now()
	q.makeRoom(asked.from)
	q.list[sha256.Sum256([]byte(secret))] = asked
	return secret, string(data), nil
}

// makeRoom forgets questions that are over, and the oldest of an address that has asked too many, or of all. The caller
// holds q.mu.
func (q *Questions) makeRoom(from string) {
	var oldest, oldestOfAddress [sha256.Size]byte
	count := 0
	older := func(key, than [sha256.Size]byte) bool {
		other, ok := q.list[than]
		return !ok || q.list[key].asked.Before(other.asked)
	}
	for key, asked := range q.list {
		switch {
		case q.over(asked):
			delete(q.list, key)
			continue
		case asked.from == from:
			if count++; older(key, oldestOfAddress) {
				oldestOfAddress = key
			}
		}
		if older(key, oldest) {
			oldest = key
		}
	}
	if count >= maxPerAddress {
		delete(q.list, oldestOfAddress)
	}
	if len(q.list) >= maxQuestions {
		delete(q.list, oldest)
	}
}

func (q *Questions) over(asked *question) bool { return q.now().Sub(asked.asked) > AnswerTime }

// take returns the question that was put to the browser with a secret, which is used up.
func (q *Questions) take(secret string, at Place, adds bool) (*question, error) {
	key := sha256.Sum256([]byte(secret))
	q.mu.Lock()
	defer q.mu.Unlock()
	asked, ok := q.list[key]
	delete(q.list, key)
	if !ok || q.over(asked) || asked.place != at || (asked.adds != nil) != adds {
		return nil, ErrExpired
	}
	return asked, nil
}

// Login is a browser's answer that says which account it is for.
type Login struct {
	Handle []byte // nil: it cannot be read
	Verify func(account.Account) (account.Passkey, error)
}

// Login reads the answer of the browser with a secret. What it is worth, Verify says.
func (q *Questions) Login(secret string, at Place, answer string) Login {
	asked, err := q.take(secret, at, false)
	if err != nil {
		return refused(err)
	}
	if len(answer) > maxAnswer {
		return refused(account.ErrPasskey)
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes([]byte(answer))
	if err != nil {
		return refused(explain(err))
	}
	party, err := q.party(at)
	if err != nil {
		return refused(fmt.Errorf("passkey: %w", err))
	}
	handle := parsed.Response.UserHandle
	return Login{handle, func(a account.Account) (used account.Passkey, err error) {
		owner := func(_, _ []byte) (webauthn.User, error) {
			return user{a, a.Handle, at.Host}, nil
		}
		_, found, err := party.ValidatePasskeyLogin(owner, asked.session, parsed)
		if err != nil {
			return used, explain(err)
		}
		if i := a.IndexPasskey(found.ID); i >= 0 {
			used = a.Passkeys[i]
		}
		if found.Authenticator.CloneWarning {
			return used, account.ErrCopied
		}
		used.SignCount, used.Flags = found.Authenticator.SignCount, byte(found.Flags.ProtocolValue())
		return used, nil
	}}
}

func refused(err error) Login {
	return Login{Verify: func(account.Account) (account.Passkey, error) { return account.Passkey{}, err }}
}

// explain makes an error of package webauthn one of a passkey that is refused, with the reason for the log.
func explain(err error) error {
	var why *protocol.Error
	if errors.As(err, &why) && why.DevInfo != "" {
		err = fmt.Errorf("%w (%s)", err, why.DevInfo)
	}
	return fmt.Errorf("%w: %w", account.ErrPasskey, err)
}

// Made is a passkey that a browser has made, for an account as it was when that began.
type Made struct {
	Account string
	Epoch   int
	Handle  []byte
	Passkey account.Passkey
}

// Made reads the answer of the browser with a secret, which has been asked for a new passkey.
func (q *Questions) Made(secret string, at Place, answer string) (Made, error) {
	asked, err := q.take(secret, at, true)
	if err != nil {
		return Made{}, err
	}
	if len(answer) > maxAnswer {
		return Made{}, account.ErrPasskey
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes([]byte(answer))
	if err != nil {
		return Made{}, explain(err)
	}
	if !unattested(parsed.Response.AttestationObject) {
		return Made{}, fmt.Errorf("%w: it has an attestation, which nobody has asked for", account.ErrPasskey)
	}
	party, err := q.party(at)
	if err != nil {
		return Made{}, fmt.Errorf("passkey: %w", err)
	}
	a := asked.adds
	found, err := party.CreateCredential(user{a.account, a.handle, at.Host}, asked.session, parsed)
	if err != nil {
		return Made{}, explain(err)
	}
	return Made{a.account.Name, a.account.Epoch, a.handle, account.Passkey{
		ID: found.ID, Name: a.name, Host: at.Host, PublicKey: found.PublicKey,
		SignCount: found.Authenticator.SignCount, Flags: byte(found.Flags.ProtocolValue()),
	}}, nil
}

// unattested reports whether a device says nothing of its maker, as it was asked to; at most it signs for itself, which
// browsers leave in. To check other attestations, package webauthn would fetch what their certificates name.
func unattested(o protocol.AttestationObject) bool {
	_, byMaker := o.AttStatement["x5c"]
	return o.Format == string(protocol.AttestationFormatNone) || o.Format == string(protocol.AttestationFormatPacked) && !byMaker
}
