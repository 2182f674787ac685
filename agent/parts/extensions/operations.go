package extensions

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/config/edit"
	"github.com/sae-agent/sae-agent/agent/control"
)

// Operations implements part.Operator.
func (p *Part) Operations() []control.Handler {
	return []control.Handler{
		control.Handle(control.ShowSecret, p.secret),
		control.Handle(control.RotateSecrets, p.rotate),
	}
}

// secret is the one that the exchange has, which is that of the file only once it has followed.
func (p *Part) secret(_ context.Context, r control.SecretRequest) (out control.ExtensionSecret, err error) {
	in := p.host.Running()
	e := in.Config.Extension(r.Extension)
	if e.Number == "" {
		return out, noExtension(r.Extension)
	}
	return control.ExtensionSecret{Extension: e.Number, Secret: cmp.Or(p.deps.Secrets()[e.Number], e.SecretFrom(in.Secrets))}, nil
}

func noExtension(number string) error {
	return &control.Error{Code: http.StatusNotFound, Message: fmt.Sprintf("no extension %s is in the file: 'sae-agent extensions' lists them", number)}
}

// rotate gives extensions new secrets: those that are in the file there, the others in ours.
func (p *Part) rotate(ctx context.Context, r control.Rotation) (plan control.Plan, err error) {
	chosen, err := chosen(p.host.Running().Config, r)
	if err != nil {
		return plan, err
	}
	var names []string
	var literal []string
	for _, e := range chosen {
		if e.Secret != "" {
			literal = append(literal, e.Number)
			continue
		}
		names = append(names, config.SecretName(e.Number))
	}
	if len(literal) > 0 {
		plan, err = p.host.Edit(ctx, r.EditOptions, func(f *edit.File) error { return NewSecrets(f, literal...) })
	}
	if err == nil && !r.DryRun && len(names) > 0 {
		plan.Behind, err = p.host.Renew(ctx, names...)
	}
	if err != nil {
		return plan, err
	}
	for _, e := range chosen {
		if e.Secret == "" {
			plan.Machine = append(plan.Machine, "extension "+e.Number+": a new secret")
		}
	}
	return plan, nil
}

// NewSecrets gives extensions new secrets in the file.
func NewSecrets(f *edit.File, numbers ...string) error {
	for _, n := range numbers {
		if err := f.Set(name, edit.Equal("number", n), edit.Field{Key: "secret", Value: rand.Text(), Quoted: true}); err != nil {
			return err
		}
	}
	return nil
}

func chosen(c *config.Config, r control.Rotation) ([]config.Extension, error) {
	switch {
	case r.All == (len(r.Extensions) > 0):
		return nil, &control.Error{Code: http.StatusBadRequest, Message: "which extensions? either their numbers, or --all"}
	case r.All:
		return c.Extensions, nil
	}
	var out []config.Extension
	for _, number := range r.Extensions {
		e := c.Extension(number)
		if e.Number == "" {
			return nil, noExtension(number)
		}
		out = append(out, e)
	}
	return out, nil
}
