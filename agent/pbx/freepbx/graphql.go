package freepbx

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// apiTime is how long FreePBX's API may take to answer.
	apiTime = time.Minute
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 1 << 20
)

// credential is a client of FreePBX's API. Making one takes the previous one of the
// same name away, so one is made only when something is to be deleted.
type credential struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
}

// Delete implements System, by the mutation deleteExtension.
func (m *Machine) Delete(ctx context.Context, number string) error {
	return m.mutate(ctx, "mutation($n: ID!) { done: deleteExtension(input: {extensionId: $n}) { status message } }", map[string]string{"n": number})
}

// AddLocalNetwork implements System, by the mutation addSipNatLocalIp. It says that all is well whatever it did.
func (m *Machine) AddLocalNetwork(ctx context.Context, network netip.Prefix) error {
	return m.mutate(ctx, "mutation($net: String!, $mask: String!) { done: addSipNatLocalIp(input: {net: $net, mask: $mask}) { status message } }",
		map[string]string{"net": network.Masked().Addr().String(), "mask": strconv.Itoa(network.Bits())})
}

// mutate has FreePBX change something. The query names the mutation done.
func (m *Machine) mutate(ctx context.Context, query string, variables map[string]string) error {
	token, err := m.token(ctx)
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		return err
	}
	var answer struct {
		Data struct {
			Done struct {
				Status  bool   `json:"status"`
				Message string `json:"message"`
			} `json:"done"`
		} `json:"data"`
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	header := http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + token}}
	code, err := m.post(ctx, "/admin/api/api/gql", header, body, &answer)
	switch {
	case err != nil:
		return err
	case len(answer.Errors) > 0:
		return fmt.Errorf("FreePBX's API: %s", answer.Errors[0].Message)
	case !answer.Data.Done.Status:
		return fmt.Errorf("FreePBX's API (HTTP %d): %s", code, answer.Data.Done.Message)
	}
	return nil
}

// token gets leave to use the API, with a new client when the old one is refused.
func (m *Machine) token(ctx context.Context) (string, error) {
	if m.api.ID != "" {
		if token, err := m.askToken(ctx); err == nil {
			return token, nil
		}
	}
	output, err := m.fwconsole(ctx, "api", "gql", "genclientcred", "127.0.0.1")
	if m.api = parseCredential(output); m.api.ID == "" {
		return "", errors.Join(errors.New("FreePBX gives no access to its API: is its module api installed and enabled?"), err)
	}
	return m.askToken(ctx)
}

// parseCredential finds the line of JSON among what PHP prints besides.
func parseCredential(output string) (c credential) {
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &c) == nil && c.ID != "" && c.Secret != "" {
			return c
		}
	}
	return credential{}
}

func (m *Machine) askToken(ctx context.Context) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {m.api.ID}, "client_secret": {m.api.Secret}, "scope": {"gql"}}
	var answer struct {
		Token   string `json:"access_token"`
		Message string `json:"message"`
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	code, err := m.post(ctx, "/admin/api/api/token", header, []byte(form.Encode()), &answer)
	if err == nil && answer.Token == "" {
		err = fmt.Errorf("FreePBX's API gives no token (HTTP %d): %s", code, answer.Message)
	}
	return answer.Token, err
}

// post asks the web server of this machine and reads its JSON, whatever the status.
func (m *Machine) post(ctx context.Context, path string, header http.Header, body []byte, answer any) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header = header
	resp, err := m.client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("FreePBX's API: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return resp.StatusCode, fmt.Errorf("FreePBX's API: %w", err)
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return resp.StatusCode, fmt.Errorf("FreePBX's API answers HTTP %d and no JSON: is the web server up, and its module api enabled?", resp.StatusCode)
	}
	return resp.StatusCode, nil
}
