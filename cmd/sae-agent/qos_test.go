package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// queues waits until the WAN card's queues have a word, or have it not.
func (a *appliance) queues(word string, there bool) {
	a.t.Helper()
	labtest.Eventually(a.t, func() error {
		out := a.host.Run("tc", "qdisc", "show", "dev", "ens33")
		if strings.Contains(out, word) != there {
			return fmt.Errorf("%q is %v:\n%s", word, !there, out)
		}
		return nil
	})
}

// The key shapes the upload, another rate changes it, and without the key the
// card is as it was.
func TestUploadIsShaped(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, siteConfig)
	a.queues("5a", false)
	a.edit("firewall:", "qos: {wan_upload: 20mbit}\nfirewall:")
	if out := a.must("plan"); !strings.Contains(out, "tc qdisc replace dev ens33 root") {
		t.Errorf("plan does not say it:\n%s", out)
	}
	a.must("apply")
	a.queues(": root", true)
	labtest.Eventually(t, func() error {
		if out := a.must("status"); !strings.Contains(out, "20mbit, shaped by ") {
			return fmt.Errorf("status:\n%s", out)
		}
		return nil
	})
	if out := a.host.Run("curl", "-sS", "http://192.168.1.1:9303/metrics"); !strings.Contains(out, `sae_qos_rate_bytes_per_second{discipline="`) || !strings.Contains(out, "} 2.5e+06") {
		t.Errorf("metrics: %s", out)
	}
	a.host.Run("tc", "qdisc", "replace", "dev", "ens33", "root", "handle", "7:", "pfifo")
	labtest.Eventually(t, func() error {
		if out := a.must("status"); !strings.Contains(out, "tc qdisc del dev ens33 root") {
			return fmt.Errorf("status:\n%s", out)
		}
		return nil
	})
	a.host.Run("tc", "qdisc", "del", "dev", "ens33", "root")
	a.queues(": root", true)
	a.edit("qos: {wan_upload: 20mbit}\n", "")
	a.must("apply")
	a.queues("5af:", false)
	a.queues("5ae:", false)
}
