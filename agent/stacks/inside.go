package stacks

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/sae-agent/sae-agent/agent/stacks/kind"
)

const (
	// pageTime bounds one question to a page, maxPage what is read of it.
	pageTime = 20 * time.Second
	maxPage  = 1 << 20
)

// inside is the way into a stack.
type inside struct {
	*stack
	name string // end of the units' names: who asks at the same time needs another
	url  string
	cert []byte // that the page was given, in DER
}

func (s *stack) inside(p *kind.Project, name string) inside {
	in := inside{stack: s, name: name, url: p.URL}
	if block, _ := pem.Decode(s.config().Site.Certificate); block != nil {
		in.cert = block.Bytes
	}
	return in
}

// Exec implements kind.Inside.
func (in inside) Exec(ctx context.Context, c kind.Call) ([]byte, error) {
	args := []string{"exec", "-T"}
	if c.User != "" {
		args = append(args, "--user", c.User)
	}
	args = append(append(args, c.Service), c.Argv...)
	return in.composeOutput(ctx, composeCall{args: args, stdin: c.Stdin, stdout: c.Stdout, name: in.name})
}

// Get implements kind.Inside.
func (in inside) Get(ctx context.Context, path string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, in.url+path, nil)
	if err != nil {
		return 0, nil, err
	}
	client := http.Client{
		// A page elsewhere is no answer of this one.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: in.opts.Dial, DisableKeepAlives: true,
			// Checked by sameCertificate, byte by byte: it may be of a maker that this machine does not know.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, VerifyPeerCertificate: in.sameCertificate},
		},
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("the page does not answer: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	return resp.StatusCode, body, err
}

func (in inside) sameCertificate(raw [][]byte, _ [][]*x509.Certificate) error {
	if len(raw) == 0 || !bytes.Equal(raw[0], in.cert) {
		return errors.New("it shows another certificate than it was given")
	}
	return nil
}

// Image implements kind.Inside.
func (in inside) Image(service string) kind.Image { return in.services()[service] }
