package verify

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/sae-agent/sae-agent/agent/problem"
)

// maxPage bounds what is read of a page.
const maxPage = 1 << 20

// Page is Jitsi's page.
type Page struct {
	URL    string
	Client *http.Client
}

// Checks implements Suite.
func (p Page) Checks() []Check {
	return []Check{{"meeting_page", "the page of the meetings loads", p.loads}}
}

// Close implements Suite.
func (p Page) Close(context.Context) error { return nil }

func (p Page) loads(ctx context.Context) Found {
	body, err := request(ctx, p.Client, http.MethodGet, p.URL+"/", nil, nil, nil)
	if err != nil {
		return wrong("'sae-agent stacks' says how Jitsi is", "the page of the meetings: %v", err)
	}
	return seen("%s, %d bytes", p.URL, len(body))
}

// Cloud is Nextcloud as its users see it.
type Cloud struct {
	URL    string
	Client *http.Client
	// Borrow makes two accounts for the checks, giveBack removes them with all they have.
	Borrow func(ctx context.Context) (accounts [2]Account, giveBack func(ctx context.Context) error, err error)
}

// CloudSuite checks a Nextcloud.
type CloudSuite struct {
	c        Cloud
	giveBack func(ctx context.Context) error
}

// NewCloud returns the checks of a Nextcloud.
func NewCloud(c Cloud) *CloudSuite { return &CloudSuite{c: c} }

// Checks implements Suite.
func (s *CloudSuite) Checks() []Check {
	return []Check{
		{"cloud", "Nextcloud is installed and ready", s.installed},
		{"cloud_files", "one user uploads a file and shares it, another one reads it", s.files},
	}
}

// Close implements Suite.
func (s *CloudSuite) Close(ctx context.Context) error {
	if s.giveBack == nil {
		return nil
	}
	return s.giveBack(ctx)
}

const cloudFix = "'sae-agent stacks' and 'sae-agent stacks logs nextcloud' say how Nextcloud is"

func (s *CloudSuite) installed(ctx context.Context) Found {
	body, err := request(ctx, s.c.Client, http.MethodGet, s.c.URL+"/status.php", nil, nil, nil)
	if err != nil {
		return wrong(cloudFix, "Nextcloud: %v", err)
	}
	var st struct {
		Installed, Maintenance, NeedsDbUpgrade bool
		Version                                string `json:"versionstring"`
	}
	if err := json.Unmarshal(body, &st); err != nil {
		return wrong(cloudFix, "Nextcloud's status cannot be read: %v", err)
	}
	if !st.Installed || st.Maintenance || st.NeedsDbUpgrade {
		return wrong(cloudFix, "Nextcloud is not ready: installed %t, maintenance %t, database to be migrated %t", st.Installed, st.Maintenance, st.NeedsDbUpgrade)
	}
	return seen("version %s", st.Version)
}

// files goes the way of a file between two people: WebDAV and the sharing API of
// Nextcloud's developer manual.
func (s *CloudSuite) files(ctx context.Context) Found {
	accounts, giveBack, err := s.c.Borrow(ctx)
	s.giveBack = giveBack
	if err != nil {
		return wrong(cloudFix, "no test accounts can be made: %v", err)
	}
	giver, taker := accounts[0], accounts[1]
	name := "sae-agent-verify-" + strings.ToLower(rand.Text()[:8]) + ".txt"
	content := []byte(rand.Text())
	if _, err := s.as(ctx, giver, http.MethodPut, dav(giver, name), nil, content); err != nil {
		return wrong(cloudFix, "a file cannot be uploaded: %v", err)
	}
	share := url.Values{"path": {"/" + name}, "shareType": {"0"}, "shareWith": {taker.Number}, "permissions": {"1"}}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "OCS-APIRequest": {"true"}, "Accept": {"application/json"}}
	if _, err := s.as(ctx, giver, http.MethodPost, "/ocs/v2.php/apps/files_sharing/api/v1/shares", header, []byte(share.Encode())); err != nil {
		return wrong(cloudFix, "a file cannot be shared: %v", err)
	}
	got, err := s.as(ctx, taker, http.MethodGet, dav(taker, name), nil, nil)
	if err != nil {
		return wrong(cloudFix, "a shared file cannot be read: %v", err)
	}
	if !bytes.Equal(got, content) {
		return wrong(cloudFix, "a shared file is not what was uploaded")
	}
	return s.takenAway(ctx)
}

// takenAway removes what the check has made, which is part of it.
func (s *CloudSuite) takenAway(ctx context.Context) Found {
	giveBack := s.giveBack
	s.giveBack = nil
	if err := giveBack(ctx); err != nil {
		return Found{Problems: []problem.Problem{{What: fmt.Sprintf("test accounts of Nextcloud are left: %v", err), Fix: "remove the accounts that begin with sae-agent-verify"}}}
	}
	return seen("uploaded, shared, read, removed")
}

func dav(a Account, name string) string { return "/remote.php/dav/files/" + a.Number + "/" + name }

// as asks as a user.
func (s *CloudSuite) as(ctx context.Context, a Account, method, path string, header http.Header, body []byte) ([]byte, error) {
	return request(ctx, s.c.Client, method, s.c.URL+path, &a, header, body)
}

// request asks, and returns the answer if it is a good one. Its errors have no password in them.
func request(ctx context.Context, client *http.Client, method, address string, as *Account, header http.Header, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if as != nil {
		req.SetBasicAuth(as.Number, as.Secret)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	if resp.StatusCode/100 != 2 {
		return nil, errors.Join(fmt.Errorf("%s %s: %s", method, req.URL.Path, resp.Status), err)
	}
	return data, err
}
