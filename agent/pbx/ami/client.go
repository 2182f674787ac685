// Package ami speaks Asterisk's manager interface: it keeps one connection, logs in again after every break, sends
// actions, gathers the answers and passes events on.
//
// It knows the protocol (https://docs.asterisk.org, "Asterisk Manager Interface") and nothing of what is asked or of
// what events mean.
package ami

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Errors of Do and List.
var (
	// ErrNotConnected says that Asterisk cannot be asked now; the client goes on trying.
	ErrNotConnected = errors.New("not connected to Asterisk's manager interface")
	// ErrRefused is wrapped when Asterisk does not know the user or its secret.
	ErrRefused = errors.New("refused by Asterisk: the manager's user or secret is wrong")
)

// ResponseError is Asterisk's answer to an action that it did not carry out.
type ResponseError struct{ Action, Message string }

func (e *ResponseError) Error() string { return "ami: " + e.Action + ": " + e.Message }

// Config says whom to talk to and whom to tell. The functions are called from the goroutine that reads: they must
// not block, and must not ask the client anything.
type Config struct {
	Addr   string // host:port
	User   string
	Secret string
	Logger *slog.Logger
	// OnUp is called when the client is logged in and Asterisk is fully booted. Nil: it is not called.
	OnUp func()
	// OnDown is called when that ends. Nil: it is not called.
	OnDown func(error)
	// OnEvent gets every event that does not belong to an answer. Nil: nobody does.
	OnEvent func(Message)

	Timeout time.Duration // for one answer and for a log-in; default 10 s
	Ping    time.Duration // how often a silent connection is tried; default 15 s
	// MinDelay and MaxDelay bound the wait between two attempts to connect; default 250 ms and 15 s.
	MinDelay, MaxDelay time.Duration
	// Dial connects; default net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Status is how the connection is.
type Status struct {
	Up    bool      // logged in, and Asterisk is fully booted
	Since time.Time // of Up
	Err   error     // why not, when it is not; nil before the first attempt has ended
}

// Client is a connection to one Asterisk that is re-established when it breaks. Its methods may be called from any
// goroutine.
type Client struct {
	cfg Config

	mu      sync.Mutex // guards the following
	session *session   // nil while not connected
	status  Status
}

// New returns a client; Run makes the connection.
func New(cfg Config) *Client {
	cfg.Timeout = cmp.Or(cfg.Timeout, 10*time.Second)
	cfg.Ping = cmp.Or(cfg.Ping, 15*time.Second)
	cfg.MinDelay = cmp.Or(cfg.MinDelay, 250*time.Millisecond)
	cfg.MaxDelay = cmp.Or(cfg.MaxDelay, 15*time.Second)
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Client{cfg: cfg, status: Status{Since: time.Now()}}
}

// Status says how the connection is.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// Run keeps the connection until ctx ends. It returns nil then, and leaves no goroutine.
func (c *Client) Run(ctx context.Context) error {
	delay := c.cfg.MinDelay
	for {
		wasUp, err := c.connect(ctx)
		if ctx.Err() != nil {
			c.setStatus(Status{Err: ErrNotConnected})
			return nil
		}
		if wasUp {
			delay = c.cfg.MinDelay
			c.cfg.Logger.Warn("lost the exchange's manager interface", "err", err)
		}
		c.setStatus(Status{Err: err})
		if wasUp && c.cfg.OnDown != nil {
			c.cfg.OnDown(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
		delay = min(2*delay, c.cfg.MaxDelay)
	}
}

// setStatus notes how the connection is, and since when.
func (c *Client) setStatus(s Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Since = c.status.Since
	if s.Up != c.status.Up {
		s.Since = time.Now()
	}
	c.status = s
}

// connect makes one connection and serves it to its end. It reports whether it was ever up.
func (c *Client) connect(ctx context.Context) (wasUp bool, err error) {
	limited, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	conn, err := c.cfg.Dial(limited, "tcp", c.cfg.Addr)
	if err != nil {
		return false, fmt.Errorf("ami: %w", err)
	}
	s := newSession(conn, c.cfg.OnEvent)
	stop := context.AfterFunc(ctx, func() { s.end(ctx.Err()) })
	defer stop()
	var reading sync.WaitGroup
	reading.Go(s.read)
	defer reading.Wait()
	defer s.end(nil)

	if err := c.login(limited, s); err != nil {
		return false, err
	}
	c.cfg.Logger.Info("connected to the exchange's manager interface")
	c.mu.Lock()
	c.session = s
	c.mu.Unlock()
	c.setStatus(Status{Up: true})
	if c.cfg.OnUp != nil {
		c.cfg.OnUp()
	}
	err = c.keep(ctx, s)
	c.mu.Lock()
	c.session = nil
	c.mu.Unlock()
	return true, err
}

// login says who we are, without the secret going over the wire, and waits until Asterisk is fully booted: before
// that it answers as if there were no phones.
func (c *Client) login(ctx context.Context, s *session) error {
	if err := s.wait(ctx, s.greeted, "no greeting from Asterisk"); err != nil {
		return err
	}
	challenge, err := s.ask(ctx, NewAction("Challenge", "AuthType", "MD5"))
	if err != nil {
		return fmt.Errorf("ami: log in: %w", err)
	}
	sum := md5.Sum([]byte(challenge.Get("Challenge") + c.cfg.Secret))
	_, err = s.ask(ctx, NewAction("Login", "AuthType", "MD5", "Username", c.cfg.User, "Key", hex.EncodeToString(sum[:]), "Events", "on"))
	var refused *ResponseError
	if errors.As(err, &refused) {
		return fmt.Errorf("ami: log in as %s: %w (%s)", c.cfg.User, ErrRefused, refused.Message)
	}
	if err != nil {
		return fmt.Errorf("ami: log in: %w", err)
	}
	return s.wait(ctx, s.booted, "Asterisk is still booting")
}

// keep tries the connection now and then, until it ends.
func (c *Client) keep(ctx context.Context, s *session) error {
	tick := time.NewTicker(c.cfg.Ping)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return s.reason()
		case <-tick.C:
		}
		limited, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
		_, err := s.ask(limited, Action{Name: "Ping"})
		cancel()
		if err != nil {
			s.end(fmt.Errorf("ami: Asterisk does not answer any more: %w", err))
		}
	}
}

// Do carries one action out and returns the response. An error is ErrNotConnected, a *ResponseError, or of ctx or the
// connection.
func (c *Client) Do(ctx context.Context, a Action) (Message, error) {
	s, ctx, cancel, err := c.current(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	return s.ask(ctx, a)
}

// List carries out an action that is answered by events, and returns these without the last one, which only says
// that the list is complete. A list that was cut off is an error.
func (c *Client) List(ctx context.Context, a Action) ([]Message, error) {
	s, ctx, cancel, err := c.current(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	return s.list(ctx, a)
}

func (c *Client) current(ctx context.Context) (*session, context.Context, context.CancelFunc, error) {
	c.mu.Lock()
	s, why := c.session, c.status.Err
	c.mu.Unlock()
	if s == nil {
		if why != nil && !errors.Is(why, ErrNotConnected) {
			return nil, nil, nil, fmt.Errorf("%w: %w", ErrNotConnected, why)
		}
		return nil, nil, nil, ErrNotConnected
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	return s, ctx, cancel, nil
}
