package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// Phones that stay on answer the exchange, and take over what changes in their files.
func TestStay(t *testing.T) {
	s := newSite(t)
	s.dnsmasq("--dhcp-option=66,192.168.0.1")
	pbx := s.asterisk(2, ring+lamp)
	inventory := s.inventory(2)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out, errs bytes.Buffer
	status := -1
	var running sync.WaitGroup
	running.Go(func() {
		s.phones.Do(func() error {
			status = run(ctx, []string{"--interface", "eth0", "--register", "--stay", "--release", "--inventory", inventory}, &out, &errs)
			return nil
		})
	})
	contacts := func(want string) {
		t.Helper()
		labtest.Eventually(t, func() error {
			if got := pbx.CLI("pjsip show contacts"); !strings.Contains(got, want) {
				return fmt.Errorf("no %q in\n%s", want, got)
			}
			return nil
		})
	}
	contacts("1000/sip:1000@")
	contacts("1001/sip:1001@")
	// The secret changes on both sides, and the phone is told.
	auths, err := os.ReadFile(filepath.Join(pbx.Etc(), "pjsip.conf"))
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(auths), "password=secret-of-1000", "password=another", 1)
	if err := os.WriteFile(filepath.Join(pbx.Etc(), "pjsip.conf"), []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	s.file("001565000001.cfg", strings.Replace(account("1000"), "secret-of-1000", "another", 1)+"account.1.sip_server.1.transport_type = 1\n")
	pbx.CLI("pjsip reload")
	pbx.CLI("pjsip send notify sync endpoint 1000")
	contacts("transport=tc") // the console cuts it off
	stop()
	running.Wait()
	if status != exitOK || !strings.Contains(out.String(), "Phones: 2, 2 registered.") {
		t.Errorf("exit status %d\n%s%s", status, out.String(), errs.String())
	}
	if got := pbx.CLI("pjsip show contacts"); strings.Contains(got, "sip:100") {
		t.Errorf("still registered:\n%s", got)
	}
}
