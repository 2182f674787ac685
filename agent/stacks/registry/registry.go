// Package registry asks registries of images, as the OCI distribution specification
// has it, which tags a repository has and what they mean.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// askTime bounds one question, all pages of its answer together.
const askTime = time.Minute

// How much of a list of tags is looked at. A registry, or a mirror with broken
// paging, may name a next page for ever.
const (
	maxTags  = 50_000
	maxPages = 1000
)

// ErrNotFound says that there is no such repository or tag.
var ErrNotFound = errors.New("not found in the registry")

// Client asks registries, anonymously.
type Client struct {
	auth    *auth.Client
	askTime time.Duration
}

// New returns a client that asks through transport; nil: http.DefaultTransport. It
// asks without encryption only what is on this machine, as Docker does.
func New(transport http.RoundTripper) *Client {
	return &Client{askTime: askTime, auth: &auth.Client{Client: &http.Client{Timeout: askTime, Transport: transport}, Cache: auth.NewCache()}}
}

// Tags lists the tags of a repository such as ghcr.io/jitsi/web.
func (c *Client) Tags(ctx context.Context, repository string) ([]string, error) {
	r, err := c.open(repository)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.askTime, fmt.Errorf("its list of tags takes longer than %v", c.askTime))
	defer cancel()
	var out, last []string
	pages := 0
	err = r.Tags(ctx, "", func(tags []string) error {
		pages++
		switch {
		case pages > 1 && (len(last) == 0 || slices.Equal(tags, last)):
			return errors.New("its list of tags does not go on: the next page names the same ones, or none")
		case len(out)+len(tags) > maxTags || pages > maxPages:
			return fmt.Errorf("it has more than %d tags, or %d pages of them", maxTags, maxPages)
		}
		out, last = append(out, tags...), tags
		return nil
	})
	if cause := context.Cause(ctx); err != nil && ctx.Err() != nil {
		err = cause
	}
	return out, explain(repository, err)
}

// Digest tells what a tag means now.
func (c *Client) Digest(ctx context.Context, repository, tag string) (string, error) {
	r, err := c.open(repository)
	if err != nil {
		return "", err
	}
	d, err := r.Resolve(ctx, tag)
	return d.Digest.String(), explain(repository+":"+tag, err)
}

func (c *Client) open(repository string) (*remote.Repository, error) {
	r, err := remote.NewRepository(repository)
	if err != nil {
		return nil, fmt.Errorf("registry: %s: %w", repository, err)
	}
	r.PlainHTTP = here(r.Reference.Registry)
	r.Client = c.auth
	return r, nil
}

func explain(what string, err error) error {
	var refused *errcode.ErrorResponse
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errdef.ErrNotFound), errors.As(err, &refused) && refused.StatusCode == http.StatusNotFound:
		return fmt.Errorf("registry: %s: %w", what, ErrNotFound)
	}
	return fmt.Errorf("registry: %s: %w", what, err)
}

// here reports whether a registry is on this machine.
func here(host string) bool {
	name, _, ok := strings.Cut(host, ":")
	if !ok {
		name = host
	}
	a, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && a.IsLoopback()
}
