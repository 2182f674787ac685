package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/control"
)

// Debian's Ansible gives an appliance its file with the role that we ship: to look, for good, once more, and one with an error.
func TestAnsible(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, siteConfig)
	var token control.TokenSecret
	a.query(&token, "console", "token", "ansible", "--role", "admin")
	role, err := filepath.Abs("../../packaging/ansible/roles")
	if err != nil {
		t.Fatal(err)
	}
	controller := a.phone("controller", "02:00:00:00:00:09")
	a.write("site.yml", `- hosts: all
  gather_facts: false
  connection: local
  roles: [sae_agent]
`)
	base, _ := a.invite("reader", "viewer")
	play := func(config string, args ...string) string {
		a.write("wanted.yaml", config)
		all := append([]string{
			"ANSIBLE_ROLES_PATH=" + role, "ANSIBLE_NOCOLOR=1", "ANSIBLE_LOCAL_TEMP=" + a.path("ansible"), "ANSIBLE_REMOTE_TEMP=" + a.path("ansible"), "LC_ALL=C.UTF-8",
			"ansible-playbook", "-i", "sae303,", a.path("site.yml"),
			"-e", "sae_agent_console=" + base, "-e", "sae_agent_token=" + token.Token, "-e", "sae_agent_ca=" + a.path("state/tls/ca.pem"),
			"-e", fmt.Sprintf("{sae_agent_config: \"{{ lookup('file', '%s', rstrip=false) }}\"}", a.path("wanted.yaml")),
		}, args...)
		out, _ := controller.Command("env", all...).CombinedOutput() // a play that fails is told by what it says
		if strings.Contains(string(out), token.Token) || strings.Contains(string(out), "needle") {
			t.Errorf("a secret is shown:\n%s", out)
		}
		return string(out)
	}
	now := a.read("config.yaml")
	next := strings.Replace(now, "name: Bob", "name: Robert", 1)
	if out := play(next, "--check"); !strings.Contains(out, "changed=1") || !strings.Contains(out, "failed=0") || a.read("config.yaml") != now {
		t.Errorf("--check:\n%s", out)
	}
	if out := play(next); strings.Contains(out, "changed=0") || !strings.Contains(out, "failed=0") || a.read("config.yaml") != next {
		t.Fatalf("a new name:\n%s", out)
	}
	var extensions []control.ExtensionStatus
	a.query(&extensions, "extensions")
	if len(extensions) < 2 || extensions[1].Name != "Robert" {
		t.Errorf("it does not run: %+v", extensions)
	}
	if out := a.must("status"); strings.Contains(out, "confirm") {
		t.Errorf("it is on trial still:\n%s", out)
	}
	if out := play(next); !strings.Contains(out, "changed=0") || !strings.Contains(out, "failed=0") {
		t.Errorf("once more:\n%s", out)
	}
	if out := play(strings.Replace(next, `number: "101"`, `number: "100"`, 1)); !strings.Contains(out, "failed=1") || !strings.Contains(out, "100") || a.read("config.yaml") != next {
		t.Errorf("an extension twice:\n%s", out)
	}
}
