package provisioning

import (
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/phones"
)

// Operations implements part.Operator.
func (p *Part) Operations() []control.Handler {
	return []control.Handler{
		control.Handle(control.ListPhones, p.list),
		control.Handle(control.GetPhone, func(_ context.Context, r control.PhoneRequest) (control.Phone, error) {
			v, err := p.phone(r.MAC)
			if err != nil {
				return control.Phone{}, err
			}
			return controlPhone(v), nil
		}),
		control.Handle(control.AddPhone, p.add),
		control.Handle(control.ApprovePhone, func(ctx context.Context, a control.Approval) (control.Plan, error) {
			return p.add(ctx, control.NewPhone(a))
		}),
		control.Handle(control.ReplacePhone, p.replace),
		control.Handle(control.RemovePhone, p.remove),
		control.Handle(control.ForgetPhone, p.order(func(ctx context.Context, mac net.HardwareAddr) error { return p.phones.Forget(ctx, mac) })),
		control.Handle(control.RearmPhone, p.order(func(ctx context.Context, mac net.HardwareAddr) error { return p.phones.Rearm(ctx, mac) })),
		control.Handle(control.ResyncPhones, p.resync),
		control.Handle(control.RestartPhones, p.restart),
		control.Handle(control.GetLogSource, p.logSource),
		control.Handle(control.LinkSoftphone, func(_ context.Context, r control.SoftphoneRequest) (control.Link, error) {
			l, err := p.phones.SoftphoneLink(r.Extension)
			if err == nil {
				p.deps.Linked(r.Extension)
			}
			return control.Link{URL: l.URL, Expires: l.Expires}, asControl(err)
		}),
	}
}

func (p *Part) list(context.Context, control.None) ([]control.Phone, error) {
	out := make([]control.Phone, 0, len(p.host.Running().Config.Phones)) // and those that the file has not
	for v := range p.All() {
		out = append(out, controlPhone(v))
	}
	return out, nil
}

// phone finds one phone, by its MAC in any usual notation.
func (p *Part) phone(text string) (View, error) {
	mac, err := parseMAC(text)
	if err != nil {
		return View{}, err
	}
	st, err := p.phones.Get(mac)
	if err != nil {
		return View{}, asControl(err)
	}
	return p.knowledge().view(st), nil
}

// logSource says where a phone's story is, and which extension it has.
func (p *Part) logSource(_ context.Context, r control.LogSourceRequest) (control.LogSource, error) {
	src := control.LogSource{Journal: p.deps.Journal && p.host.Running().Config.Logs.PersonalData == config.PersonalKeep}
	if r.Phone == "" {
		return src, nil
	}
	mac, err := parseMAC(r.Phone)
	if err != nil {
		return src, err
	}
	src.MAC, src.Extension = mac.String(), p.phones.NumberOf(mac)
	return src, nil
}

// order adapts what is done to one phone.
func (p *Part) order(do func(context.Context, net.HardwareAddr) error) func(context.Context, control.PhoneRequest) (control.None, error) {
	return func(ctx context.Context, r control.PhoneRequest) (control.None, error) {
		mac, err := parseMAC(r.MAC)
		if err != nil {
			return control.None{}, err
		}
		return control.None{}, asControl(do(ctx, mac))
	}
}

func controlPhone(p View) control.Phone {
	c := control.Phone{
		MAC: p.MAC.String(), Model: p.Model, Extension: p.Extension, Name: p.Name, State: string(p.State), Source: string(p.Source),
		Firmware: p.Firmware, FirstSeen: p.FirstSeen, LastSeen: p.LastSeen, LastFetch: p.LastFetch, LastFile: p.LastFile,
		Armed: p.Armed, Alert: p.Alert, Trouble: p.Trouble,
	}
	if p.Addr.IsValid() {
		c.Address = p.Addr.String()
	}
	return c
}

// parseMAC reads a MAC that an operator has written.
func parseMAC(text string) (net.HardwareAddr, error) {
	mac, err := phones.ParseMAC(text)
	if err != nil {
		return nil, &control.Error{Code: http.StatusBadRequest, Message: err.Error()}
	}
	return mac, nil
}

// asControl makes an error of the phones one that the operator is told.
func asControl(err error) error {
	for _, known := range []struct {
		err  error
		code int
	}{
		{phones.ErrNoPhone, http.StatusNotFound}, {phones.ErrNoExtension, http.StatusUnprocessableEntity}, {phones.ErrTaken, http.StatusConflict},
		{phones.ErrNoModel, http.StatusUnprocessableEntity}, {phones.ErrNamed, http.StatusConflict},
	} {
		if errors.Is(err, known.err) {
			return &control.Error{Code: known.code, Message: err.Error()}
		}
	}
	return err
}
