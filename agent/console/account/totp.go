package account

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"
)

// codeTime is how long a code of an authenticator app is good, in seconds (RFC 6238's default, which all apps know).
const codeTime = 30

// Errors of a second factor.
var (
	ErrCode      = errors.New("the code of your authenticator app is missing or wrong; it changes every 30 seconds, and each is good once")
	ErrHasSecond = errors.New("this account asks for a code already: end that first")
)

// NewSecondFactor returns a secret for an authenticator app, and the address by which an app takes it up from a QR code.
// The account does not ask for codes until EnableSecondFactor.
func NewSecondFactor(site, name string) (secret, address string, err error) {
	key, err := totp.Generate(totp.GenerateOpts{Issuer: issuerOf(site), AccountName: name, Period: codeTime})
	if err != nil {
		return "", "", fmt.Errorf("accounts: %w", err)
	}
	return key.Secret(), SecondFactorAddress(site, name, key.Secret()), nil
}

// issuerOf is by what an app lists the codes of a site.
func issuerOf(site string) string { return "sae-agent " + site }

// SecondFactorAddress returns the address by which an app takes up a secret.
func SecondFactorAddress(site, name, secret string) string {
	issuer := issuerOf(site)
	query := url.Values{"secret": {secret}, "issuer": {issuer}}
	return (&url.URL{Scheme: "otpauth", Host: "totp", Path: "/" + issuer + ":" + name, RawQuery: query.Encode()}).String()
}

// EnableSecondFactor has an account ask for codes from now on. The password and a code of the secret prove that it is the
// account's owner, and that the app has taken it up. Sessions that have begun without it are over.
func (s *Store) EnableSecondFactor(ctx context.Context, name, password, secret, code, from string) (Account, error) {
	a, err := s.Login(ctx, name, password, "", from)
	if err != nil {
		return Account{}, err
	}
	if a.TOTP != "" {
		return Account{}, ErrHasSecond
	}
	step, ok := matchingStep(secret, code, s.now(), 0)
	if !ok {
		return Account{}, ErrCode
	}
	return s.edit(name, a.Epoch, func(a *Account) {
		a.TOTP, a.TOTPStep, a.SecondFactor, a.Epoch = secret, step, true, newEpoch()
	})
}

// DisableSecondFactor has an account ask for its password alone again.
func (s *Store) DisableSecondFactor(ctx context.Context, name, password, code, from string) (Account, error) {
	a, err := s.Login(ctx, name, password, code, from)
	if err != nil {
		return Account{}, err
	}
	return s.edit(name, a.Epoch, func(a *Account) {
		a.TOTP, a.TOTPStep, a.SecondFactor, a.Epoch = "", 0, false, newEpoch()
	})
}

// edit changes an account that nobody has changed since it had this epoch.
func (s *Store) edit(name string, epoch int, change func(*Account)) (out Account, err error) {
	err = s.change(func(f *file) error {
		i := find(f.Accounts, name)
		if i < 0 || f.Accounts[i].Epoch != epoch {
			return ErrNoSuch
		}
		change(&f.Accounts[i])
		out = f.Accounts[i]
		return nil
	})
	return out, err
}

// matchingStep returns the time step whose code this is: the present one, or the one before or after it for a clock that
// is not quite right. Steps up to used are over: a code that somebody has seen being typed is good for nothing.
func matchingStep(secret, code string, now time.Time, used int64) (step int64, ok bool) {
	if len(secret) < 16 || len(code) != otp.DigitsSix.Length() {
		return 0, false
	}
	present := now.Unix() / codeTime
	for step := max(present-1, used+1); step <= present+1; step++ {
		if ok, err := hotp.ValidateCustom(code, uint64(step), secret, hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1}); err == nil && ok {
			return step, true
		}
	}
	return 0, false
}
