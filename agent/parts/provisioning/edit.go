package provisioning

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/config/edit"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/phones"
	"github.com/sae-agent/sae-agent/agent/phones/yealink"
)

// Lists of the file.
const (
	extensionList = "extensions"
	phoneList     = "phones"
)

func conflict(format string, args ...any) error {
	return &control.Error{Code: http.StatusConflict, Message: fmt.Sprintf(format, args...)}
}

// add writes a phone into the file, and its extension where there is none.
func (p *Part) add(ctx context.Context, n control.NewPhone) (control.Plan, error) {
	mac, err := parseMAC(n.MAC)
	if err != nil {
		return control.Plan{}, err
	}
	model, err := p.modelOf(mac, n.Model)
	if err != nil {
		return control.Plan{}, err
	}
	if model == "" {
		return control.Plan{}, control.Unprocessable(fmt.Errorf("which model is %v? it has not said so yet: add --model, 'sae-agent models' lists them", mac))
	}
	c := p.host.Running().Config
	if n.Extension == "" {
		if n.Extension, err = nextExtension(c); err != nil {
			return control.Plan{}, err
		}
	}
	made, err := makesExtension(c, mac, n.Extension, n.Name)
	if err != nil {
		return control.Plan{}, err
	}
	return p.host.Edit(ctx, n.EditOptions, func(f *edit.File) error {
		if made {
			if err := f.Append(extensionList, extensionFields(n.Extension, n.Name)...); err != nil {
				return err
			}
		}
		return f.Append(phoneList, edit.Field{Key: "mac", Value: mac.String(), Quoted: true}, edit.Field{Key: "model", Value: model},
			edit.Field{Key: "extension", Value: n.Extension, Quoted: true})
	})
}

// modelOf is the model that an operator names, or else what the phone seems to be; empty
// when neither is known.
func (p *Part) modelOf(mac net.HardwareAddr, named string) (string, error) {
	if named == "" {
		st, err := p.phones.Get(mac)
		if err != nil {
			return "", nil // it was not seen yet
		}
		return st.Model, nil
	}
	m, ok := yealink.LookupModel(named)
	if !ok {
		return "", control.Unprocessable(fmt.Errorf("there is no model %q: 'sae-agent models' lists those that are known", named))
	}
	return m.Name, nil
}

// makesExtension reports whether an extension has to be made for a phone.
func makesExtension(c *config.Config, mac net.HardwareAddr, number, name string) (bool, error) {
	for _, ph := range c.Phones {
		if bytes.Equal(ph.MAC, mac) || slices.ContainsFunc(ph.Also, func(m net.HardwareAddr) bool { return bytes.Equal(m, mac) }) {
			return false, conflict("%v is in the file already, with extension %s", mac, ph.Extension)
		}
		if ph.Extension == number {
			return false, conflict("extension %s is that of %v: 'sae-agent phones replace %v %v' puts the new phone in its place", number, ph.MAC, ph.MAC, mac)
		}
	}
	for _, e := range c.Extensions {
		if e.Number == number && name != "" && name != e.Name {
			return false, conflict("extension %s is in the file already, and is called %q there", number, e.Name)
		}
		if e.Number == number {
			return false, nil
		}
	}
	return true, nil
}

func extensionFields(number, name string) []edit.Field {
	out := []edit.Field{{Key: "number", Value: number, Quoted: true}}
	if name != "" {
		out = append(out, edit.Field{Key: "name", Value: name})
	}
	return out
}

// firstExtension is the number of the first extension of a file without any.
const firstExtension = "100"

// nextExtension is the number after the greatest one of the file that nothing else has.
func nextExtension(c *config.Config) (string, error) {
	taken := takenNumbers(c)
	greatest := ""
	for _, e := range c.Extensions {
		if len(greatest) == 0 || len(e.Number) == len(greatest) && e.Number > greatest {
			greatest = e.Number
		}
	}
	if greatest == "" {
		return firstExtension, nil
	}
	n, err := strconv.ParseUint(greatest, 10, 63)
	if err != nil {
		return "", control.Unprocessable(fmt.Errorf("which extension? add --extension NUMBER"))
	}
	next, ok := firstFree(taken, n+1, strings.Repeat("9", len(greatest)))
	if !ok {
		return "", control.Unprocessable(fmt.Errorf("no number after %s is free: add --extension NUMBER", greatest))
	}
	return next, nil
}

// firstFree returns the first number from one on that nothing has, up to the last one, which says how many digits there are.
func firstFree(taken map[string]bool, from uint64, last string) (string, bool) {
	for n := from; ; n++ {
		number := fmt.Sprintf("%0*d", len(last), n)
		if len(number) > len(last) || number > last {
			return "", false
		}
		if !taken[number] {
			return number, true
		}
	}
}

// takenNumbers are the numbers that something has.
func takenNumbers(c *config.Config) map[string]bool {
	taken := map[string]bool{c.PBX.Voicemail: true, c.Stacks.Jitsi.SIPExtension: true, c.Stacks.Jitsi.AccessNumber: true}
	for _, g := range c.Groups {
		taken[g.Number] = true
	}
	for _, e := range c.Extensions {
		taken[e.Number] = true
	}
	return taken
}

// replace gives another phone the place of one in the file.
func (p *Part) replace(ctx context.Context, r control.Replacement) (control.Plan, error) {
	former, err := parseMAC(r.MAC)
	if err != nil {
		return control.Plan{}, err
	}
	mac, err := parseMAC(r.New)
	if err != nil {
		return control.Plan{}, err
	}
	model, err := p.modelOf(mac, r.Model)
	if err != nil {
		return control.Plan{}, err
	}
	secret := p.retires(former)
	plan, err := p.host.Edit(ctx, r.EditOptions, func(f *edit.File) error {
		if err := secret(f); err != nil {
			return err
		}
		if model != "" {
			if err := f.Set(phoneList, isPhone(former), edit.Field{Key: "model", Value: model}); err != nil {
				return asNoPhone(err, former)
			}
		}
		return asNoPhone(f.Set(phoneList, isPhone(former), edit.Field{Key: "mac", Value: mac.String(), Quoted: true}), former)
	})
	if err != nil || r.DryRun {
		return plan, err
	}
	return plan, p.forget(ctx, former)
}

// remove takes a phone out of the file, or its approval back.
func (p *Part) remove(ctx context.Context, r control.Removal) (control.Plan, error) {
	mac, err := parseMAC(r.MAC)
	if err != nil {
		return control.Plan{}, err
	}
	c := p.host.Running().Config
	phone := c.Phone(mac)
	if phone.MAC == nil {
		if r.DryRun {
			return control.Plan{}, nil
		}
		return control.Plan{}, asControl(p.phones.Forget(ctx, mac))
	}
	number := phone.Extension
	secret := p.retires(mac)
	shared := slices.ContainsFunc(c.Phones, func(ph config.Phone) bool { return ph.Extension == number && !bytes.Equal(ph.MAC, mac) })
	plan, err := p.host.Edit(ctx, r.EditOptions, func(f *edit.File) error {
		if err := f.Remove(phoneList, isPhone(mac)); err != nil {
			return asNoPhone(err, mac)
		}
		if !r.Extension || shared {
			return secret(f)
		}
		return f.Remove(extensionList, edit.Equal("number", number))
	})
	if err != nil || r.DryRun {
		return plan, err
	}
	return plan, p.forget(ctx, mac)
}

// retires gives the extension of a phone that goes a new secret, where the file has it and no other device is known to
// need it. One that was generated is changed by itself.
func (p *Part) retires(mac net.HardwareAddr) func(*edit.File) error {
	c := p.host.Running().Config
	number := c.Phone(mac).Extension
	if c.Extension(number).Secret == "" || !p.deps.OnlyUser(number, mac) {
		return func(*edit.File) error { return nil }
	}
	return func(f *edit.File) error { return p.deps.NewSecret(f, number) }
}

func isPhone(mac net.HardwareAddr) edit.Match {
	return edit.Match{Key: "mac", Is: func(text string) bool {
		m, err := phones.ParseMAC(text)
		return err == nil && bytes.Equal(m, mac)
	}}
}

func asNoPhone(err error, mac net.HardwareAddr) error {
	if errors.Is(err, edit.ErrNoEntry) {
		return &control.Error{Code: http.StatusNotFound, Message: fmt.Sprintf("no phone %v is in the file: 'sae-agent phones' lists them", mac)}
	}
	return err
}

// forget takes back what the state has of a phone that the file named.
func (p *Part) forget(ctx context.Context, mac net.HardwareAddr) error {
	err := p.phones.Forget(ctx, mac)
	if errors.Is(err, phones.ErrNoPhone) || errors.Is(err, phones.ErrNamed) { // never seen; or the change is still on its way
		return nil
	}
	return err
}
