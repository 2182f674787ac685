package main

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// page is the HTTP status of a page, as the LAN sees it.
func (p phone) page(args ...string) string {
	out, _ := p.Command("curl", append([]string{"-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10"}, args...)...).CombinedOutput()
	return string(out)
}

// /metrics goes behind a password by an apply; a web configuration that cannot be
// used changes nothing.
func TestMetricsBehindAPassword(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, siteConfig)
	alice := a.phone("alice", aliceMAC)
	const open, closed = "http://192.168.1.1:9303/metrics", "http://192.168.1.1:9304/metrics"
	a.edit("firewall: {enabled: false}", fmt.Sprintf("firewall: {enabled: false}\nhttp: {metrics: {listen: [192.168.1.1:9304], web_config: %s}}", a.path("web.yml")))
	a.write("web.yml", "basic_auth_users: {prometheus: plain}\n")
	if out, status := a.run("apply"); status != exitFailed || !strings.Contains(out, "nothing was changed") || !strings.Contains(out, "web.yml") {
		t.Fatalf("status %d: %s", status, out)
	}
	if got := alice.page(open); got != "200" {
		t.Errorf("after a failed apply: %s", got)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("needle-metrics"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	a.write("web.yml", fmt.Sprintf("basic_auth_users: {prometheus: '%s'}\n", hash))
	a.must("apply")
	labtest.Eventually(t, func() error {
		if got := alice.page("-u", "prometheus:needle-metrics", closed); got != "200" {
			return fmt.Errorf("with the password: %s", got)
		}
		return nil
	})
	if got := alice.page(closed); got != "401" {
		t.Errorf("without a password: %s", got)
	}
	if got := alice.page(open); got != "404" {
		t.Errorf("at the old place: %s", got)
	}
	if file, _ := alice.tftp("001565000001.cfg"); !strings.Contains(file, "needle-secret-alice") {
		t.Errorf("phones: %s", file)
	}
}

// With personal_data: omit the log has no numbers and addresses of people; the
// operator is told them nevertheless.
func TestPersonalDataStaysInMemory(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, siteConfig+"logs: {personal_data: omit}\n")
	alice := a.phone("alice", aliceMAC)
	_, _ = alice.tftp("001565000001.cfg")
	labtest.Eventually(t, func() error {
		if out := a.must("logs", "--phone", aliceMAC); !strings.Contains(out, "lease") || !strings.Contains(out, "extension=100") || !strings.Contains(out, "address=192.168.1.") {
			return fmt.Errorf("the story: %s", out)
		}
		return nil
	})
	for line := range strings.Lines(a.process.Output()) {
		if strings.Contains(line, "msg=lease") && (strings.Contains(line, "address=") || !strings.Contains(line, aliceMAC)) || strings.Contains(line, "extension=") {
			t.Errorf("the log: %s", line)
		}
	}
}
