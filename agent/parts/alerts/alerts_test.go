package alerts

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/alerts"
	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/agent/part"
	"github.com/sae-agent/sae-agent/agent/part/parttest"
	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// What the file says becomes targets.
func TestService(t *testing.T) {
	c := parttest.Config(t, "lan: {", `alerts:
  severity: error
  mail: {to: [a@sae303.example, b@sae303.example], from: sae@sae303.example, server: "smtp.sae303.example:465", tls: implicit, user: u, password_file: /etc/p}
  webhook: {url: "https://hooks.example/x", token_file: /etc/t}
lan: {`)
	got := desired{c.Alerts, c.Site.Name}.service()
	first, ok := got.Targets[0].(alerts.Mail)
	if want := (alerts.Mail{To: "a@sae303.example", From: "sae@sae303.example", Server: "smtp.sae303.example", Port: 465, Encryption: alerts.Implicit, User: "u", PasswordFile: "/etc/p"}); !ok || first != want {
		t.Errorf("%+v", first)
	}
	hook, ok := got.Targets[2].(alerts.Webhook)
	if !ok || hook.URL != "https://hooks.example/x" || hook.TokenFile != "/etc/t" || len(got.Targets) != 3 || !got.ErrorsOnly || got.Site != "sae303" {
		t.Errorf("%+v", got)
	}
}

// A secret that cannot be read is told before the configuration is applied.
func TestCheck(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "webhook.secret")
	c := parttest.Config(t, "lan: {", "alerts: {webhook: {url: \"https://hooks.example/x\", token_file: "+secret+"}}\nlan: {")
	p := New(parttest.New(t, c), Deps{})
	for _, text := range []string{"", "\n"} {
		if text != "" {
			if err := os.WriteFile(secret, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Check(t.Context(), part.Input{Config: c}); err == nil || !strings.Contains(err.Error(), "alerts.webhook.token_file: ") || !strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := os.WriteFile(secret, []byte("t0ken\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(t.Context(), part.Input{Config: c}); err != nil {
		t.Error(err)
	}
}

// The unit runs, a test message arrives, and who could not be told is a problem.
func TestTest(t *testing.T) {
	summaries := make(chan string, 1)
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body struct {
			Alerts []struct{ Annotations map[string]string }
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		summaries <- body.Alerts[0].Annotations["summary"]
	}))
	defer sink.Close()
	c := parttest.Config(t, "lan: {", "alerts: {webhook: {url: \""+sink.URL+"\"}}\nlan: {")
	h := parttest.New(t, c)
	p := New(h, Deps{Problems: func() ([]problem.Problem, bool) { return nil, true }})
	if _, err := p.test(t.Context(), control.None{}); err == nil || !strings.Contains(err.Error(), "alerts") {
		t.Errorf("while it is off: %v", err)
	}
	u := p.Units()[0]
	want, on, err := u.Desired(t.Context(), h.Running())
	if err != nil || !on {
		t.Fatal(on, err)
	}
	run, err := u.Build(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- run.Run(ctx) }()
	var got []control.AlertDelivery
	labtest.Eventually(t, func() error {
		got, err = p.test(t.Context(), control.None{})
		return err
	})
	if s := <-summaries; s != "[sae303] test of the alerts" || len(got) != 1 || got[0] != (control.AlertDelivery{Target: "webhook"}) {
		t.Errorf("%q, %+v", s, got)
	}
	sink.Close()
	if got, err = p.test(t.Context(), control.None{}); err != nil || len(got) != 1 || got[0].Error == "" {
		t.Errorf("%+v, %v", got, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if p.Report(nil) != nil {
		t.Error("a problem of what does not run")
	}
	found := problems([]alerts.Failure{{Target: "webhook", Err: context.DeadlineExceeded}})
	if len(found) != 1 || found[0].Subject != "webhook" || !strings.Contains(found[0].What, "deadline") {
		t.Errorf("%+v", found)
	}
}
