package account

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Attempts at once, and how often one comes back. The limit for a name is wider than
// the one for an address: nobody is to lock out somebody else with ease.
const (
	perAddress, addressEvery = 5, 12 * time.Second
	perName, nameEvery       = 30, 6 * time.Second
	// maxLimits bounds what is remembered; beyond it, those that are full again are
	// forgotten, or everybody.
	maxLimits = 4096
)

// limits count attempts to log in.
type limits struct {
	mu        sync.Mutex // guards the following
	addresses map[string]*rate.Limiter
	names     map[string]*rate.Limiter
}

func newLimits() *limits {
	return &limits{addresses: make(map[string]*rate.Limiter), names: make(map[string]*rate.Limiter)}
}

// allow takes one attempt of both, or of neither.
func (l *limits) allow(now time.Time, name, from string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := limiter(l.addresses, from, now, addressEvery, perAddress)
	n := limiter(l.names, name, now, nameEvery, perName)
	if a.TokensAt(now) < 1 || n.TokensAt(now) < 1 {
		return false
	}
	return a.AllowN(now, 1) && n.AllowN(now, 1)
}

// forgive forgets the attempts before one that was right.
func (l *limits) forgive(name, from string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.addresses, from)
	delete(l.names, name)
}

func limiter(m map[string]*rate.Limiter, key string, now time.Time, every time.Duration, burst int) *rate.Limiter {
	if l, ok := m[key]; ok {
		return l
	}
	if len(m) >= maxLimits {
		for k, l := range m {
			if l.TokensAt(now) >= float64(burst) {
				delete(m, k)
			}
		}
		if len(m) >= maxLimits {
			clear(m)
		}
	}
	l := rate.NewLimiter(rate.Every(every), burst)
	m[key] = l
	return l
}
