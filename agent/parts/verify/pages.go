package verify

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/agent/verify"
)

// pageTime bounds one question to a page.
const pageTime = 30 * time.Second

// pages are the checks of the stacks that are on.
func (p *Part) pages() (out []verify.Suite) {
	c := p.host.Running().Config
	lan := c.LAN.Address.Addr()
	client := p.pageClient()
	if j := c.Stacks.Jitsi; j.Enabled {
		out = append(out, verify.Page{URL: fmt.Sprintf("https://%s:%d", lan, j.HTTPSPort), Client: client})
	}
	if n := c.Stacks.Nextcloud; n.Enabled {
		out = append(out, verify.NewCloud(verify.Cloud{URL: fmt.Sprintf("https://%s:%d", lan, n.HTTPSPort), Client: client, Borrow: p.borrowUsers}))
	}
	return out
}

// pageClient takes the certificate that the pages were given, and that one alone: an
// operator's own may be of a maker that this machine does not know, or for another
// name than the address.
func (p *Part) pageClient() *http.Client {
	ours, err := p.deps.Certificate()
	verifyOurs := func(raw [][]byte, _ [][]*x509.Certificate) error {
		switch {
		case err != nil:
			return err
		case len(raw) == 0 || len(ours.Certificate) == 0 || string(raw[0]) != string(ours.Certificate[0]):
			return errors.New("the page shows another certificate than it was given: somebody else answers, or it was not restarted")
		}
		return nil
	}
	return &http.Client{Timeout: pageTime, Transport: &http.Transport{
		DisableKeepAlives: true,
		// Checked by verifyOurs, byte by byte.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, VerifyPeerCertificate: verifyOurs},
	}}
}

// borrowUsers makes two accounts in Nextcloud for the time of the checks.
func (p *Part) borrowUsers(ctx context.Context) (out [2]verify.Account, giveBack func(context.Context) error, err error) {
	run := strings.ToLower(rand.Text()[:8])
	var made []string
	giveBack = func(ctx context.Context) error {
		var all []error
		for _, name := range made {
			all = append(all, p.deps.Users.RemoveUser(ctx, name))
		}
		return errors.Join(all...)
	}
	for i := range out {
		out[i] = verify.Account{Number: fmt.Sprintf("sae-agent-verify-%s-%d", run, i+1), Secret: rand.Text()}
		if err := p.deps.Users.AddUser(ctx, kind.User{Name: out[i].Number, DisplayName: "Test", Password: out[i].Secret}); err != nil {
			return out, giveBack, err
		}
		made = append(made, out[i].Number)
	}
	return out, giveBack, nil
}
