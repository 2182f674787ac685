package agent

import (
	"context"
	"reflect"
	"sync/atomic"

	"github.com/sae-agent/sae-agent/agent/supervisor"
)

// unit is a part and the desired configuration that it was given last.
type unit[C any] struct {
	name string
	// build makes the part with a configuration.
	build func(ctx context.Context, c C) (supervisor.Part, error)
	// change gives a running part a new configuration; false means that it must
	// be started anew. Nil when the part cannot change while it runs.
	change func(C) bool
	// have is what the part should be. A part that fails is built again from it,
	// not from what it was first started with.
	have atomic.Pointer[C]
}

// want makes the part as c says. Nothing happens when it is so already: a part
// whose configuration is the same must not notice an apply.
func (u *unit[C]) want(parts *supervisor.Supervisor, c C) {
	old := u.have.Load()
	if old != nil && reflect.DeepEqual(*old, c) {
		return
	}
	u.have.Store(&c)
	if old != nil && u.change != nil && u.change(c) {
		return
	}
	parts.Set(u.name, u.start)
}

// start makes the part as it should be now. Its metrics go by its name.
func (u *unit[C]) start(ctx context.Context) (supervisor.Part, error) {
	part, err := u.build(ctx, *u.have.Load())
	if m, ok := part.(measured); ok {
		m.name = u.name
		return m, err
	}
	return part, err
}

// off stops the part.
func (u *unit[C]) off(parts *supervisor.Supervisor) {
	if u.have.Swap(nil) != nil {
		parts.Remove(u.name)
	}
}
