package account

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/sae-agent/sae-agent/agent/control"
)

// The test vectors of RFC 6238, appendix B, for SHA-1 (their last six digits).
func TestCodes(t *testing.T) {
	const secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" // 12345678901234567890
	for at, code := range map[int64]string{59: "287082", 1111111109: "081804", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130"} {
		if step, ok := matchingStep(secret, code, time.Unix(at, 0), 0); !ok || step != at/codeTime {
			t.Errorf("at %d: %v %d", at, ok, step)
		}
		if _, ok := matchingStep(secret, code, time.Unix(at+3*codeTime, 0), 0); ok {
			t.Errorf("the code of %d is good three steps later", at)
		}
		if _, ok := matchingStep(secret, code, time.Unix(at, 0), at/codeTime); ok {
			t.Errorf("the code of %d is good twice", at)
		}
	}
	for _, secret := range []string{"", "A", "not base32 at all!"} {
		if _, ok := matchingStep(secret, "000000", time.Unix(59, 0), 0); ok {
			t.Errorf("the secret %q has a code", secret)
		}
	}
}

func TestSecondFactor(t *testing.T) {
	s, now := open(t), time.Unix(1_800_000_000, 0)
	s.now = func() time.Time { return now }
	first := s.make(t, "alice", control.Admin)
	secret, address, err := NewSecondFactor("sae303", "alice")
	if err != nil || !strings.HasPrefix(address, "otpauth://totp/sae-agent%20sae303:alice?") || !strings.Contains(address, secret) {
		t.Fatalf("%s %v", address, err)
	}
	if again := SecondFactorAddress("sae303", "alice", secret); !strings.HasPrefix(again, "otpauth://totp/sae-agent%20sae303:alice?") || !strings.Contains(again, secret) {
		t.Errorf("once more: %s", again)
	}
	code := func() string {
		c, err := totp.GenerateCode(secret, now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const from = "192.168.1.9"
	for _, wrong := range [][2]string{{"wrong password", code()}, {password, "000000"}, {password, ""}} {
		now = now.Add(time.Hour)
		if _, err := s.EnableSecondFactor(t.Context(), "alice", wrong[0], secret, wrong[1], from); err == nil {
			t.Errorf("%q: a second factor that nobody has proved", wrong)
		}
	}
	a, err := s.EnableSecondFactor(t.Context(), "alice", password, secret, code(), from)
	if err != nil || !a.SecondFactor || a.Epoch == first.Epoch {
		t.Fatalf("%+v %v", a, err)
	}
	if l := s.List(); !l.Accounts[0].SecondFactor {
		t.Error("the list does not say so")
	}
	if _, err := s.Login(t.Context(), "alice", password, code(), from); !errors.Is(err, ErrCode) {
		t.Errorf("the code that enabled it is good once more: %v", err)
	}
	now = now.Add(time.Hour)
	for _, c := range []string{"", "000000", "0000000", code() + "0"} {
		if _, err := s.Login(t.Context(), "alice", password, c, from); !errors.Is(err, ErrCode) {
			t.Errorf("code %q: %v", c, err)
		}
		now = now.Add(time.Hour)
	}
	if _, err := s.Login(t.Context(), "alice", "wrong password", code(), from); !errors.Is(err, ErrWrong) {
		t.Errorf("the code alone: %v", err)
	}
	if _, err := s.Login(t.Context(), "alice", password, code(), from); err != nil {
		t.Error(err)
	}
	if _, err := s.SetPassword(t.Context(), "alice", password, "", "another good password", from); !errors.Is(err, ErrCode) {
		t.Errorf("another password without a code: %v", err)
	}
	// Who knows the password alone cannot try all codes.
	tried := 0
	for range 1000 {
		if _, err := s.Login(t.Context(), "alice", password, "000000", from); errors.Is(err, ErrCode) {
			tried++
		}
	}
	if tried > perAddress {
		t.Errorf("%d codes were tried", tried)
	}
	now = now.Add(time.Hour)
	if _, err := s.DisableSecondFactor(t.Context(), "alice", password, "", from); !errors.Is(err, ErrCode) {
		t.Errorf("ended without a code: %v", err)
	}
	if a, err = s.DisableSecondFactor(t.Context(), "alice", password, code(), from); err != nil || a.SecondFactor {
		t.Errorf("%+v %v", a, err)
	}
	if _, err := s.Login(t.Context(), "alice", password, "", from); err != nil {
		t.Error(err)
	}
	// A lost telephone: another invitation.
	now = now.Add(time.Hour)
	if _, err := s.EnableSecondFactor(t.Context(), "alice", password, secret, code(), from); err != nil {
		t.Fatal(err)
	}
	s.make(t, "alice", control.Admin)
	if _, err := s.Login(t.Context(), "alice", password, "", from); err != nil {
		t.Errorf("after another invitation: %v", err)
	}
}
