//go:build vm

package vm

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// Debian's own kernel has cake, which the kernels of many a test machine lack: the
// upload is shaped by it, each class is counted, and another rate loses nothing.
func TestUploadIsShapedByCake(t *testing.T) {
	m := newMachine(t)
	m.boot()
	m.installAndName("extensions: []\nphones: []\n")
	m.upload("20mbit")
	m.queues("qdisc cake 5ae: root", "bandwidth 20Mbit", "diffserv4", " nat ")
	if out, _ := m.try("sae-agent status"); !strings.Contains(out, "20mbit, shaped by cake") {
		t.Errorf("status:\n%s", out)
	}
	m.sh("ping -q -c 20 -i 0.02 -Q 0xb8 198.51.100.1") // EF
	m.sh("ping -q -c 20 -i 0.02 -Q 0x88 198.51.100.1") // AF41
	labtest.Eventually(t, func() error {
		if voice, video := m.sent("voice"), m.sent("video"); voice < 20*84 || video < 20*84 {
			return fmt.Errorf("%d bytes of voice and %d of video were counted", voice, video)
		}
		return nil
	})
	before := m.sent("voice")
	m.upload("30mbit")
	m.queues("bandwidth 30Mbit")
	if after := m.sent("voice"); after < before {
		t.Errorf("the queues were made anew: %d bytes of voice before, %d after", before, after)
	}
	m.sh("tc qdisc del dev ens33 root")
	m.queues("qdisc cake 5ae: root")
	m.upload("")
	labtest.Eventually(t, func() error {
		if out := m.sh("tc qdisc show dev ens33"); strings.Contains(out, "cake") {
			return fmt.Errorf("still shaped: %s", out)
		}
		return nil
	})
}

// upload sets qos.wan_upload, or takes it out.
func (m *machine) upload(rate string) {
	m.t.Helper()
	line := ""
	if rate != "" {
		line = "qos: {wan_upload: " + rate + "}"
	}
	m.sh("sed -i '/^qos:/d' /etc/sae-agent/config.yaml && echo '" + line + "' >> /etc/sae-agent/config.yaml && sae-agent apply")
}

// queues waits until the WAN card's queues are so.
func (m *machine) queues(words ...string) {
	m.t.Helper()
	labtest.Eventually(m.t, func() error {
		out := m.sh("tc qdisc show dev ens33")
		for _, w := range words {
			if !strings.Contains(out, w) {
				return fmt.Errorf("no %q in:\n%s", w, out)
			}
		}
		return nil
	})
}

// sent returns how many bytes of a class have left.
func (m *machine) sent(class string) int {
	m.t.Helper()
	metrics := m.sh("wget -qO- http://127.0.0.1:9303/metrics")
	found := regexp.MustCompile(`(?m)^sae_qos_sent_bytes_total\{class="` + class + `"\} (\S+)$`).FindStringSubmatch(metrics)
	if found == nil {
		return 0
	}
	n, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		m.t.Fatal(err)
	}
	return int(n)
}
