package stacks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sae-agent/sae-agent/agent/stacks/kind"
)

// Errors of first passwords.
var (
	// ErrShown says that passwords were shown before.
	ErrShown = errors.New("the first passwords were shown already")
	// ErrNoLogin says that there is nothing to log in to yet.
	ErrNoLogin = errors.New("there is nothing to log in to yet")
)

// FirstLogins returns the accounts that were made with their first passwords, when
// there is something to log in to: once, for what is read twice is read by two
// people, unless it is asked for again. The error says when they were shown.
func (s *Service) FirstLogins(stack string, again bool) ([]kind.Login, error) {
	st, err := s.get(stack)
	if err != nil {
		return nil, err
	}
	k, ok := st.kind().(kind.Logins)
	if !ok {
		return nil, nil
	}
	if state := st.current().State; state != Healthy {
		return nil, fmt.Errorf("%w: %s is %s", ErrNoLogin, stack, state)
	}
	if at, ok := s.store.get().Shown[stack]; ok && !again {
		return nil, fmt.Errorf("%w, on %s", ErrShown, at.Local().Format(time.DateTime))
	}
	if err := s.store.change(func(n *noted) { n.Shown[stack] = s.opts.Now() }); err != nil {
		return nil, err
	}
	return k.Logins(), nil
}

// AddUser makes an account in a stack.
func (s *Service) AddUser(ctx context.Context, stack string, u kind.User) error {
	return s.accounts(stack, func(k kind.Accounts, in kind.Inside) error { return k.AddUser(ctx, in, u) })
}

// RemoveUser removes an account of a stack with all its files.
func (s *Service) RemoveUser(ctx context.Context, stack, name string) error {
	return s.accounts(stack, func(k kind.Accounts, in kind.Inside) error { return k.RemoveUser(ctx, in, name) })
}

func (s *Service) accounts(stack string, do func(kind.Accounts, kind.Inside) error) error {
	st, err := s.get(stack)
	if err != nil {
		return err
	}
	k, ok := st.kind().(kind.Accounts)
	if !ok {
		return fmt.Errorf("%w: no accounts can be made in %s", ErrDisabled, stack)
	}
	p, err := st.render(st.images())
	if err != nil {
		return err
	}
	return do(k, st.inside(p, "accounts"))
}
