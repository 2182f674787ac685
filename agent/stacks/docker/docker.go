// Package docker asks Docker's daemon, over its unix socket, how containers are,
// and hears when they change.
//
// It asks, and fetches images: what is to be done to containers, 'docker compose'
// does. It knows nothing of stacks.
package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// DefaultSocket is where the daemon listens.
const DefaultSocket = "/var/run/docker.sock"

// The versions of the API that this client speaks. 1.40 is Docker 19.03; all that
// is asked here is the same in both and between.
const (
	minAPI = "1.40"
	maxAPI = "1.50"
)

// Errors of a daemon that cannot be asked.
var (
	// ErrDown says that no daemon answers on the socket.
	ErrDown = errors.New("the daemon of Docker does not answer")
	// ErrAPI says that daemon and client have no version of the API in common.
	ErrAPI = errors.New("the daemon of Docker speaks another version of its API")
	// ErrNotFound says that there is no such thing.
	ErrNotFound = errors.New("not found")
)

// Client asks one daemon. Its methods may be called from any goroutine.
type Client struct {
	socket string
	http   *http.Client

	mu      sync.Mutex // guards the following
	version string     // that was agreed on; empty before
}

// New returns a client of the daemon behind a unix socket.
func New(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Version is what the daemon says of itself.
type Version struct {
	Version string `json:"Version"`
	API     string `json:"ApiVersion"`
	MinAPI  string `json:"MinAPIVersion"`
}

// Version asks the daemon what it is, and agrees on a version of the API. The
// error is or wraps ErrDown or ErrAPI.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var v Version
	if err := c.get(ctx, "/version", nil, &v); err != nil {
		return v, err
	}
	agreed, err := negotiate(v)
	if err != nil {
		return v, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version = agreed
	return v, nil
}

// negotiate picks the newest version of the API that both sides speak.
func negotiate(v Version) (string, error) {
	switch {
	case olderAPI(v.API, minAPI):
		return "", fmt.Errorf("%w: it is Docker %s with API %s, and %s is the oldest that will do", ErrAPI, v.Version, v.API, minAPI)
	case olderAPI(maxAPI, v.MinAPI):
		return "", fmt.Errorf("%w: it is Docker %s, which wants API %s or newer, and %s is the newest that is spoken here", ErrAPI, v.Version, v.MinAPI, maxAPI)
	case olderAPI(v.API, maxAPI):
		return v.API, nil
	}
	return maxAPI, nil
}

// olderAPI compares versions such as 1.9 and 1.41.
func olderAPI(a, b string) bool {
	split := func(v string) (major, minor int) {
		x, y, _ := strings.Cut(v, ".")
		major, _ = strconv.Atoi(x)
		minor, _ = strconv.Atoi(y)
		return major, minor
	}
	aMajor, aMinor := split(a)
	bMajor, bMinor := split(b)
	return aMajor < bMajor || aMajor == bMajor && aMinor < bMinor
}

// Info is what the daemon says of its machine.
type Info struct {
	Root     string `json:"DockerRootDir"` // where images and containers are
	MemTotal int64  `json:"MemTotal"`      // bytes of the machine
}

// Info asks about the machine.
func (c *Client) Info(ctx context.Context) (Info, error) {
	var i Info
	err := c.ask(ctx, "/info", nil, &i)
	return i, err
}

// Container is one container of a compose project.
type Container struct {
	ID      string
	Service string
	Image   string // as it was asked for
	State   string // created, running, restarting, removing, paused, exited, dead
	Status  string // in words, as docker ps has it
	Health  string // starting, healthy or unhealthy; empty without a check
	Created time.Time
	// ConfigHash is Compose's digest of what the container was made from.
	ConfigHash string
}

// Up reports whether the container runs and says nothing against it.
func (c Container) Up() bool {
	return c.State == "running" && (c.Health == "" || c.Health == "healthy")
}

// Containers lists the containers of a compose project, stopped ones included.
func (c *Client) Containers(ctx context.Context, project string) ([]Container, error) {
	filters, err := json.Marshal(map[string][]string{"label": {"com.docker.compose.project=" + project, "com.docker.compose.oneoff=False"}})
	if err != nil {
		return nil, err
	}
	var list []struct {
		ID            string `json:"Id"`
		Image         string
		State, Status string
		Created       int64
		Labels        map[string]string
	}
	if err := c.ask(ctx, "/containers/json", url.Values{"all": {"1"}, "filters": {string(filters)}}, &list); err != nil {
		return nil, err
	}
	out := make([]Container, 0, len(list))
	for _, e := range list {
		out = append(out, Container{
			ID: e.ID, Service: e.Labels["com.docker.compose.service"], Image: e.Image, State: e.State, Status: e.Status,
			Health: health(e.Status), Created: time.Unix(e.Created, 0), ConfigHash: e.Labels["com.docker.compose.config-hash"],
		})
	}
	return out, nil
}

// Running is a container that runs, of whatever project.
type Running struct {
	Name    string
	Project string           // of Compose; empty: none
	Ports   []netip.AddrPort // that it publishes
}

// Running lists all containers that run.
func (c *Client) Running(ctx context.Context) ([]Running, error) {
	var list []struct {
		Names  []string
		Labels map[string]string
		Ports  []struct {
			IP         string
			PublicPort uint16
		}
	}
	if err := c.ask(ctx, "/containers/json", nil, &list); err != nil {
		return nil, err
	}
	out := make([]Running, 0, len(list))
	for _, e := range list {
		r := Running{Name: strings.TrimPrefix(strings.Join(e.Names, ","), "/"), Project: e.Labels["com.docker.compose.project"]}
		for _, p := range e.Ports {
			if addr, err := netip.ParseAddr(p.IP); err == nil && p.PublicPort != 0 { // one that is only exposed has none
				r.Ports = append(r.Ports, netip.AddrPortFrom(addr, p.PublicPort))
			}
		}
		out = append(out, r)
	}
	return out, nil
}

// health reads what the list says of a container's check: only the words of its
// status tell, in every version of the API.
func health(status string) string {
	switch {
	case strings.HasSuffix(status, "(healthy)"):
		return "healthy"
	case strings.HasSuffix(status, "(unhealthy)"):
		return "unhealthy"
	case strings.Contains(status, "(health: starting)"):
		return "starting"
	}
	return ""
}

// Image is an image that the daemon has.
type Image struct {
	ID      string   `json:"Id"`
	Digests []string `json:"RepoDigests"` // repository@sha256:…
}

// Image asks for an image by its name. ErrNotFound: the daemon does not have it.
func (c *Client) Image(ctx context.Context, ref string) (Image, error) {
	var i Image
	err := c.ask(ctx, "/images/"+ref+"/json", nil, &i)
	return i, err
}

// Events calls changed whenever a container begins, ends or changes its health,
// until ctx ends or the daemon does. It calls once at the beginning, when it hears.
func (c *Client) Events(ctx context.Context, changed func()) error {
	filters := `{"type":["container"],"event":["start","die","kill","destroy","health_status","pause","unpause"]}`
	resp, err := c.open(ctx, http.MethodGet, "/events", url.Values{"filters": {filters}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	changed()
	for d := json.NewDecoder(resp.Body); ; {
		var e struct{}
		if err := d.Decode(&e); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("docker: events: %w", errors.Join(ErrDown, err))
		}
		changed()
	}
}

// ask gets from the part of the API that has versions.
func (c *Client) ask(ctx context.Context, path string, query url.Values, into any) error {
	prefix, err := c.prefix(ctx)
	if err != nil {
		return err
	}
	return c.get(ctx, prefix+path, query, into)
}

func (c *Client) open(ctx context.Context, method, path string, query url.Values) (*http.Response, error) {
	prefix, err := c.prefix(ctx)
	if err != nil {
		return nil, err
	}
	return c.send(ctx, method, prefix+path, query)
}

// prefix agrees on a version when that has not been done yet.
func (c *Client) prefix(ctx context.Context) (string, error) {
	c.mu.Lock()
	v := c.version
	c.mu.Unlock()
	if v == "" {
		if _, err := c.Version(ctx); err != nil {
			return "", err
		}
		c.mu.Lock()
		v = c.version
		c.mu.Unlock()
	}
	return "/v" + v, nil
}

func (c *Client) get(ctx context.Context, path string, query url.Values, into any) error {
	resp, err := c.send(ctx, http.MethodGet, path, query)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("docker: read the answer to %s: %w", path, err)
	}
	return nil
}

// send asks and returns the answer if it is a good one.
func (c *Client) send(ctx context.Context, method, path string, query url.Values) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: "docker", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("docker: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			c.forget()
			return nil, fmt.Errorf("docker: %w on %s (%w)", ErrDown, c.socket, err)
		}
		return nil, fmt.Errorf("docker: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var said struct {
		Message string `json:"message"`
	}
	_ = json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&said)
	switch resp.StatusCode {
	case http.StatusNotFound:
		return nil, fmt.Errorf("docker: %s: %w: %s", path, ErrNotFound, said.Message)
	case http.StatusBadRequest:
		if strings.Contains(said.Message, "version") {
			c.forget()
			return nil, fmt.Errorf("docker: %w: %s", ErrAPI, said.Message)
		}
	}
	return nil, fmt.Errorf("docker: %s: %s: %s", path, resp.Status, said.Message)
}

// forget has the version agreed on again: the next daemon may be another one.
func (c *Client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version = ""
}
