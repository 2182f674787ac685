package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
)

// ErrNoDaemon says that no daemon answers.
var ErrNoDaemon = errors.New("sae-agent does not run")

// Client asks the daemon.
type Client struct {
	http *http.Client
	path string
}

// NewClient returns a client of the daemon whose runtime directory is dir.
func NewClient(dir string) *Client {
	path := filepath.Join(dir, SocketName)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Status asks how the appliance is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, "/v1/status", nil)
}

// Plan asks what an apply would change.
func (c *Client) Plan(ctx context.Context) (Plan, error) {
	return call[Plan](ctx, c, http.MethodGet, "/v1/plan", nil)
}

// Apply makes the daemon read its file and run it.
func (c *Client) Apply(ctx context.Context, o ApplyOptions) (Plan, error) {
	return call[Plan](ctx, c, http.MethodPost, "/v1/apply", o)
}

// Confirm keeps a change that is undone otherwise.
func (c *Client) Confirm(ctx context.Context) error {
	_, err := call[any](ctx, c, http.MethodPost, "/v1/confirm", nil)
	return err
}

// Rollback makes the daemon go back to an earlier configuration.
func (c *Client) Rollback(ctx context.Context, o RollbackOptions) (Plan, error) {
	return call[Plan](ctx, c, http.MethodPost, "/v1/rollback", o)
}

// History lists the configurations that are kept, newest last.
func (c *Client) History(ctx context.Context) ([]Applied, error) {
	return call[[]Applied](ctx, c, http.MethodGet, "/v1/history", nil)
}

// Leases lists the DHCP leases, by address.
func (c *Client) Leases(ctx context.Context) ([]Lease, error) {
	return call[[]Lease](ctx, c, http.MethodGet, "/v1/leases", nil)
}

// Phones lists all phones, by state and MAC.
func (c *Client) Phones(ctx context.Context) ([]Phone, error) {
	return call[[]Phone](ctx, c, http.MethodGet, "/v1/phones", nil)
}

// Phone tells all that is known of one phone; mac may be written in any of the usual ways.
func (c *Client) Phone(ctx context.Context, mac string) (Phone, error) {
	return call[Phone](ctx, c, http.MethodGet, "/v1/phones/"+url.PathEscape(mac), nil)
}

// ApprovePhone gives an unknown phone its extension.
func (c *Client) ApprovePhone(ctx context.Context, mac string, a Approval) error {
	_, err := call[any](ctx, c, http.MethodPost, "/v1/phones/"+url.PathEscape(mac)+"/approve", a)
	return err
}

// ForgetPhone takes an approval back.
func (c *Client) ForgetPhone(ctx context.Context, mac string) error {
	_, err := call[any](ctx, c, http.MethodPost, "/v1/phones/"+url.PathEscape(mac)+"/forget", nil)
	return err
}

// RearmPhone puts the secret back into the file of a phone that has registered.
func (c *Client) RearmPhone(ctx context.Context, mac string) error {
	_, err := call[any](ctx, c, http.MethodPost, "/v1/phones/"+url.PathEscape(mac)+"/rearm", nil)
	return err
}

// SoftphoneLink makes a single-use provisioning address for a softphone.
func (c *Client) SoftphoneLink(ctx context.Context, extension string) (Link, error) {
	return call[Link](ctx, c, http.MethodPost, "/v1/softphones/"+url.PathEscape(extension)+"/link", nil)
}

func call[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var out T
	var rd io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return out, err
		}
		rd = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://sae-agent"+path, rd)
	if err != nil {
		return out, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return out, c.explain(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return out, readError(resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("read the daemon's answer: %w", err)
	}
	return out, nil
}

func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w (nothing answers on %s): start it with 'systemctl start sae-agent', or name its --runtime-dir", ErrNoDaemon, c.path)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("no permission to open %s: use sudo, or join the group %s", c.path, Group)
	}
	return fmt.Errorf("ask the daemon: %w", err)
}

func readError(resp *http.Response) error {
	e := &Error{Code: resp.StatusCode}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(e); err != nil || e.Message == "" {
		e.Message = "the daemon answered " + resp.Status + "; is it of the same version as this command?"
	}
	return e
}
