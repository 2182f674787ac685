package part

import (
	"context"
	"fmt"
	"net/http"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
)

// SecretNames are the generated passwords that a configuration needs.
func SecretNames(parts []Part, c *config.Config) (names []string) {
	for _, p := range parts {
		if s, ok := p.(SecretNamer); ok {
			names = append(names, s.SecretNames(c)...)
		}
	}
	return names
}

// HoldOf has something of one of the parts stand still.
func HoldOf(parts []Part) func(context.Context, control.HoldRequest) (control.Held, func(), error) {
	return func(ctx context.Context, r control.HoldRequest) (control.Held, func(), error) {
		for _, p := range parts {
			h, ok := p.(Holder)
			if !ok {
				continue
			}
			if held, release, known, err := h.Hold(ctx, r.Part); known {
				return held, release, err
			}
		}
		return control.Held{}, nil, &control.Error{Code: http.StatusNotFound, Message: fmt.Sprintf("there is no %q to stand still", r.Part)}
	}
}
