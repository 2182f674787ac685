package account

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Costs of argon2id: 19 MiB and two passes, the least that OWASP's password storage
// cheat sheet gives, since the daemon is to stay small.
const (
	argonTime    = 2
	argonMemory  = 19 * 1024 // KiB
	argonThreads = 1
	argonKey     = 32
	argonSalt    = 16
)

// hasher hashes one password at a time, so that many logins cannot take the memory.
type hasher struct{ turn chan struct{} }

func newHasher() *hasher { return &hasher{turn: make(chan struct{}, 1)} }

func (h *hasher) key(ctx context.Context, password string, salt []byte, time, memory uint32, threads uint8, length uint32) ([]byte, error) {
	select {
	case h.turn <- struct{}{}:
		defer func() { <-h.turn }()
		defer debug.FreeOSMemory() // nothing else needs as much, and nobody logs in often
		return argon2.IDKey([]byte(password), salt, time, memory, threads, length), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hash returns a password's hash in the form of the reference implementation.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // never fails, crypto/rand
	key, err := h.key(ctx, password, salt, argonTime, argonMemory, argonThreads, argonKey)
	if err != nil {
		return "", err
	}
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads, b64(salt), b64(key)), nil
}

var errForm = errors.New("accounts: a password's hash cannot be read")

// verify reports whether a password has a hash. With an empty hash it takes the same
// time and says no.
func (h *hasher) verify(ctx context.Context, hash, password string) (bool, error) {
	if hash == "" {
		_, err := h.key(ctx, password, make([]byte, argonSalt), argonTime, argonMemory, argonThreads, argonKey)
		return false, err
	}
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, errForm
	}
	var version int
	var memory, time uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false, errForm
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); err != nil || time == 0 || threads == 0 {
		return false, errForm
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	want, werr := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || werr != nil || len(want) == 0 {
		return false, errForm
	}
	got, err := h.key(ctx, password, salt, time, memory, threads, uint32(len(want)))
	return err == nil && subtle.ConstantTimeCompare(got, want) == 1, err
}
