package alerts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/docs"
)

// Webhook tells a program, by what Alertmanager sends to its webhook receivers.
type Webhook struct {
	URL       string
	TokenFile string // empty: none
	Client    *http.Client
}

// Name implements Target.
func (Webhook) Name() string { return "webhook" }

// Send implements Target.
func (w Webhook) Send(ctx context.Context, m Message) error {
	data, err := json.Marshal(payloadOf(m))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(data))
	if err != nil {
		return errors.New("alerts.webhook.url is no address") // the error would show it, and what is secret in it
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "sae-agent")
	req.Header.Set("Idempotency-Key", m.ID)
	if w.TokenFile != "" {
		token, err := ReadSecret(w.TokenFile)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := w.Client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("%s answers %s", req.URL.Host, res.Status)
	}
	return nil
}

// NewClient returns a client that sends no token elsewhere.
func NewClient() *http.Client {
	return &http.Client{
		Timeout:       sendTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// payload is version 4 of Alertmanager's webhook.
type payload struct {
	Version           string            `json:"version"`
	GroupKey          string            `json:"groupKey"`
	TruncatedAlerts   int               `json:"truncatedAlerts"`
	Status            string            `json:"status"`
	Receiver          string            `json:"receiver"`
	GroupLabels       map[string]string `json:"groupLabels"`
	CommonLabels      map[string]string `json:"commonLabels"`
	CommonAnnotations map[string]string `json:"commonAnnotations"`
	ExternalURL       string            `json:"externalURL"`
	Alerts            []alert           `json:"alerts"`
}

type alert struct {
	Status       string            `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL"`
	Fingerprint  string            `json:"fingerprint"`
}

const (
	firing   = "firing"
	resolved = "resolved"
)

func payloadOf(m Message) payload {
	labels := map[string]string{"site": m.Site, "instance": m.Host}
	out := payload{
		Version: "4", GroupKey: "{}:{site=\"" + m.Site + "\"}", Status: resolved, Receiver: "sae-agent", GroupLabels: map[string]string{"site": m.Site},
		CommonLabels: labels, CommonAnnotations: map[string]string{}, Alerts: []alert{},
	}
	if m.Test {
		m.New = []problem.Problem{{ID: "test", Severity: problem.Warning, Part: "alerts", What: Subject(m), Since: m.At}}
	}
	for _, p := range m.New {
		out.Status = firing
		out.Alerts = append(out.Alerts, alertOf(m, p, firing))
	}
	for _, p := range m.Ended {
		a := alertOf(m, p, resolved)
		a.EndsAt = m.At
		out.Alerts = append(out.Alerts, a)
	}
	return out
}

func alertOf(m Message, p problem.Problem, status string) alert {
	a := alert{
		Status: status, StartsAt: p.Since,
		Labels:      map[string]string{"alertname": string(p.ID), "severity": string(p.Severity), "part": p.Part, "site": m.Site, "instance": m.Host},
		Annotations: map[string]string{"summary": p.What, "description": p.Fix},
	}
	if p.Subject != "" {
		a.Labels["subject"] = p.Subject
	}
	if text, url := docs.Runbook(string(p.ID)); text != "" {
		a.Annotations["runbook"], a.Annotations["runbook_url"] = text, url
		a.GeneratorURL = url
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%q", []string{m.Site, m.Host, string(p.ID), p.Part, p.Subject})
	a.Fingerprint = fmt.Sprintf("%016x", h.Sum64())
	return a
}
