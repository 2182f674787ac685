package agent

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/phones"
)

// Leases answers control.ListLeases.
func (a *Agent) Leases(context.Context) ([]control.Lease, error) {
	s := a.dhcp.Load()
	if s == nil {
		return nil, &control.Error{Code: http.StatusServiceUnavailable, Message: "the DHCP server is not running: see sae-agent status"}
	}
	out := []control.Lease{}
	for _, l := range s.Leases() {
		out = append(out, control.Lease{
			Address: l.Addr.String(), MAC: l.MAC.String(), Hostname: l.Hostname, Class: l.VendorClass, State: l.State.String(),
			Start: l.Start.Round(time.Second), Expires: l.Expires.Round(time.Second),
		})
	}
	return out, nil
}

// Phones answers control.ListPhones.
func (a *Agent) Phones(context.Context) ([]control.Phone, error) {
	out := []control.Phone{}
	for _, p := range a.phoneList() {
		out = append(out, controlPhone(p))
	}
	return out, nil
}

// Phone answers control.GetPhone.
func (a *Agent) Phone(_ context.Context, mac string) (control.Phone, error) {
	p, err := a.phone(mac)
	if err != nil {
		return control.Phone{}, err
	}
	return controlPhone(p), nil
}

// phone finds one phone, by its MAC in any usual notation.
func (a *Agent) phone(mac string) (phoneView, error) {
	hw, err := parseMAC(mac)
	if err != nil {
		return phoneView{}, err
	}
	p, err := a.phones.Get(hw)
	if err != nil {
		return phoneView{}, told(err)
	}
	return a.witness().view(p), nil
}

// ApprovePhone answers control.ApprovePhone.
func (a *Agent) ApprovePhone(ctx context.Context, mac string, approval control.Approval) error {
	hw, err := parseMAC(mac)
	if err != nil {
		return err
	}
	return told(a.phones.Approve(ctx, hw, approval.Extension, approval.Model))
}

// ForgetPhone answers control.ForgetPhone.
func (a *Agent) ForgetPhone(ctx context.Context, mac string) error {
	hw, err := parseMAC(mac)
	if err != nil {
		return err
	}
	return told(a.phones.Forget(ctx, hw))
}

// RearmPhone answers control.RearmPhone.
func (a *Agent) RearmPhone(ctx context.Context, mac string) error {
	hw, err := parseMAC(mac)
	if err != nil {
		return err
	}
	return told(a.phones.Rearm(ctx, hw))
}

// SoftphoneLink answers control.LinkSoftphone.
func (a *Agent) SoftphoneLink(_ context.Context, extension string) (control.Link, error) {
	l, err := a.phones.SoftphoneLink(extension)
	return control.Link{URL: l.URL, Expires: l.Expires}, told(err)
}

func controlPhone(p phoneView) control.Phone {
	c := control.Phone{
		MAC: p.MAC.String(), Model: p.Model, Extension: p.Extension, Name: p.Name, State: string(p.State), Source: string(p.Source),
		Firmware: p.Firmware, FirstSeen: p.FirstSeen, LastSeen: p.LastSeen, LastFetch: p.LastFetch, LastFile: p.LastFile,
		Armed: p.Armed, Alert: p.Alert, Trouble: p.trouble,
	}
	if p.Addr.IsValid() {
		c.Address = p.Addr.String()
	}
	return c
}

// parseMAC reads a MAC in any usual notation, also without separators.
func parseMAC(text string) (net.HardwareAddr, error) {
	if len(text) == 12 {
		spaced := ""
		for i := 0; i < 12; i += 2 {
			spaced += ":" + text[i:i+2]
		}
		text = spaced[1:]
	}
	hw, err := net.ParseMAC(text)
	if err != nil || len(hw) != 6 {
		return nil, &control.Error{Code: http.StatusBadRequest, Message: "not a MAC address: write it as on the phone's label, such as 00:15:65:12:34:56"}
	}
	return hw, nil
}

// told makes an error of the phones one that the operator is told.
func told(err error) error {
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
