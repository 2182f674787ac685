package part

import (
	"context"
	"errors"
	"reflect"

	"github.com/prometheus/client_golang/prometheus"
)

// ErrRebuild is returned by Apply when a configuration takes a new run.
var ErrRebuild = errors.New("this takes a new run")

// Spec describes a unit, one supervised run of a part, that is configured by a C.
type Spec[C any] struct {
	// Name is the unit's name in status and metrics.
	Name string
	// First says that other units are started only once this one was, or has had a moment for it: phones that boot
	// with the appliance wait for it.
	First bool
	// Desired returns what should run, and false when nothing should. It may look at
	// facts; what follows from them is decided by a pure func of the part's package.
	// It is called often, and MUST change nothing.
	Desired func(ctx context.Context, in Input) (c C, on bool, err error)
	// Build makes a run. It is called again after each failure, with the newest
	// configuration.
	Build func(ctx context.Context, c C) (Run[C], error)
}

// Run is one run of a unit.
type Run[C any] struct {
	// Run runs until ctx ends. Returning before that is a failure.
	Run func(ctx context.Context) error
	// Apply has it take a new configuration over while it runs. ErrRebuild asks for a
	// new run; after any other error it goes on with what it had, and Apply is tried
	// again. Nil: each new configuration takes a new run.
	Apply func(ctx context.Context, c C) error
	// Settle waits until the newest configuration was read back as in force, or
	// returns why it is not. Nil: it is in force once it was taken over.
	Settle func(ctx context.Context) error
	// Alive waits until its loop has answered, or ctx ends. Nil: it has none to ask.
	Alive func(ctx context.Context) error
	// Collectors are served while it runs.
	Collectors []prometheus.Collector
}

// Unit is a Spec whose configuration's type is hidden.
type Unit = Spec[any]

// NewUnit hides the type of a unit's configuration.
func NewUnit[C any](s Spec[C]) Unit {
	return Unit{
		Name: s.Name, First: s.First,
		Desired: func(ctx context.Context, in Input) (any, bool, error) {
			return s.Desired(ctx, in)
		},
		Build: func(ctx context.Context, c any) (Run[any], error) {
			r, err := s.Build(ctx, c.(C))
			return hide(r), err
		},
	}
}

func hide[C any](r Run[C]) Run[any] {
	out := Run[any]{Run: r.Run, Settle: r.Settle, Alive: r.Alive, Collectors: r.Collectors}
	if r.Apply != nil {
		out.Apply = func(ctx context.Context, c any) error { return r.Apply(ctx, c.(C)) }
	}
	return out
}

// Same reports whether two configurations of a unit are alike. A run whose
// configuration is the same must not notice an apply.
func Same(a, b any) bool { return reflect.DeepEqual(a, b) }
