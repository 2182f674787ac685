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

// Call has the daemon carry an operation out.
func Call[Req, Resp any](ctx context.Context, c *Client, o Operation[Req, Resp], req Req) (out Resp, err error) {
	body, err := c.do(ctx, o.Info(), req)
	if err != nil {
		return out, err
	}
	defer body.Close()
	return out, readJSON(json.NewDecoder(body), &out)
}

// CallStream passes the items of a stream to emit until the stream ends, emit fails
// or ctx ends; the last is no error.
func CallStream[Req, Item any](ctx context.Context, c *Client, s Stream[Req, Item], req Req, emit func(Item) error) error {
	body, err := c.do(ctx, s.Info(), req)
	if err != nil {
		return unlessInterrupted(ctx, err)
	}
	defer body.Close()
	for dec := json.NewDecoder(body); ; {
		var item Item
		err := readJSON(dec, &item)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return unlessInterrupted(ctx, err)
		}
		if err := emit(item); err != nil {
			return err
		}
	}
}

// CallText copies the text of a stream to w until it ends or ctx does; the latter is
// no error.
func CallText[Req any](ctx context.Context, c *Client, s TextStream[Req], req Req, w io.Writer) error {
	body, err := c.do(ctx, s.Info(), req)
	if err != nil {
		return unlessInterrupted(ctx, err)
	}
	defer body.Close()
	if _, err := io.Copy(w, body); err != nil {
		return unlessInterrupted(ctx, fmt.Errorf("read the daemon's answer: %w", err))
	}
	return nil
}

// CallHold begins something that lasts until release is called or this process ends.
func CallHold[Req, Resp any](ctx context.Context, c *Client, h Hold[Req, Resp], req Req) (out Resp, release func(), err error) {
	body, err := c.do(ctx, h.Info(), req)
	if err != nil {
		return out, nil, err
	}
	if err := readJSON(json.NewDecoder(body), &out); err != nil {
		return out, nil, errors.Join(err, body.Close())
	}
	return out, func() { _ = body.Close() }, nil
}

// do sends a request and returns the body of the answer, or the error that it is.
func (c *Client) do(ctx context.Context, op Info, req any) (io.ReadCloser, error) {
	target, body, err := encode(op, req)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, op.Method, "http://sae-agent"+target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, readError(resp)
	}
	return resp.Body, nil
}

func readJSON(dec *json.Decoder, v any) error {
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	return nil
}

// unlessInterrupted returns err, or nil when it is the end of ctx.
func unlessInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
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
