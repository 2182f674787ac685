package main

import (
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/sae-agent/sae-agent/agent/control"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// invite returns the console's address, once it has one, and an invitation's path.
func (a *appliance) invite(name, role string) (base, path string) {
	a.t.Helper()
	var link control.InvitationLink
	labtest.Eventually(a.t, func() error {
		out, status := a.run("console", "invite", name, "--role", role, "--json")
		if status != exitOK {
			return errorOf(out)
		}
		return json.Unmarshal([]byte(out), &link)
	})
	base, path, _ = strings.Cut(link.URL, "/invite/")
	return base, "/invite/" + path
}

// From the invitation that root prints to a phone that is approved in the browser, and
// what of it is over the API, with the firewall on.
func TestConsole(t *testing.T) {
	t.Parallel()
	a := newAppliance(t, strings.Replace(siteConfig, "firewall: {enabled: false}", "firewall: {enabled: true}", 1))
	base, invitation := a.invite("alice", "admin")
	if out := a.must("status"); !strings.Contains(out, base) {
		t.Errorf("status does not say where the console is:\n%s", out)
	}
	stranger := a.phone("stranger", strangerMAC)
	stranger.tftp("001565000099.cfg") // refused: it waits for its approval
	desk := a.phone("desk", "02:00:00:00:00:09")
	site := "same-origin"
	browse := func(args ...string) string {
		return desk.Run("curl", append([]string{"-sS", "--cacert", a.path("state/tls/ca.pem"), "-b", "/run/jar", "-c", "/run/jar", "-H", "Sec-Fetch-Site: " + site, "-w", "\n%{http_code}"}, args...)...)
	}
	if out := browse(base + "/phones"); !strings.HasSuffix(out, "\n303") {
		t.Errorf("without a login: %s", out)
	}
	if out := browse(base+invitation, "-d", "password=correct+horse+battery", "-d", "again=correct+horse+battery"); !strings.HasSuffix(out, "\n303") {
		t.Fatalf("invitation: %s", out)
	}
	if out := browse(base + "/phones"); !strings.Contains(out, strangerMAC) {
		t.Fatalf("the phone is not on the page:\n%s", out)
	}
	approve := []string{base + "/do/approvePhone", "-d", "mac=" + strangerMAC, "-d", "model=T54W", "-d", "extension=105", "-d", "name=Dora"}
	site = "cross-site"
	if out := browse(approve...); !strings.HasSuffix(out, "\n403") {
		t.Errorf("a form of another site: %s", out)
	}
	site = "same-origin"
	if out := browse(append(approve, "-d", "_back=/phones")...); !strings.HasSuffix(out, "\n303") {
		t.Fatalf("approve: %s", out)
	}
	if !strings.Contains(a.read("config.yaml"), strangerMAC) {
		t.Errorf("the file:\n%s", a.read("config.yaml"))
	}
	labtest.Eventually(t, func() error {
		if file, failure := stranger.tftp("001565000099.cfg"); !strings.Contains(file, "105") {
			return errorOf("the phone's file: " + file + failure)
		}
		return nil
	})
	if ca := a.must("console", "authority"); ca != a.read("state/tls/ca.pem") {
		t.Errorf("the authority: %q", ca)
	}
	if out := a.must("console", "orders"); !regexp.MustCompile(`alice +192\.168\.1\.\d+ +approve phone +`+strangerMAC+` +done`).MatchString(out) || !strings.Contains(out, "invite") {
		t.Errorf("who has done what:\n%s", out)
	}
	var token control.TokenSecret
	a.query(&token, "console", "token", "monitoring", "--role", "viewer")
	api := func(args ...string) string {
		return desk.Run("curl", append([]string{"-sS", "--cacert", a.path("state/tls/ca.pem"), "-H", "Authorization: Bearer " + token.Token, "-w", "\n%{http_code}"}, args...)...)
	}
	if out := api(base + "/api/v1/phones/" + strangerMAC); !strings.HasSuffix(out, "\n200") || !strings.Contains(out, `"Dora"`) || strings.Contains(out, "needle") {
		t.Errorf("API: %s", out)
	}
	if out := api(base+"/api/v1/phones/"+strangerMAC+"/remove", "-X", "POST"); !strings.HasSuffix(out, "\n403") {
		t.Errorf("a viewer removes: %s", out)
	}
	// It is known by a name, through the firewall, and the certificate has it.
	var st control.Status
	labtest.Eventually(t, func() error {
		if out, _ := a.run("status", "--json"); json.Unmarshal([]byte(out), &st) != nil || st.Console.Name == "" {
			return errorOf("no name: " + out)
		}
		return nil
	})
	if st.Console.Name != strings.Replace(base, "192.168.1.1", "sae.local", 1) {
		t.Errorf("the name is %s beside %s", st.Console.Name, base)
	}
	if got := resolve(t, desk, "sae.local."); got != "192.168.1.1" {
		t.Errorf("sae.local is %s", got)
	}
	if out := browse(st.Console.Name+"/login", "--connect-to", "sae.local::192.168.1.1:"); !strings.HasSuffix(out, "\n200") {
		t.Errorf("by its name: %s", out)
	}
	a.wan.Run("ip", "route", "replace", "192.168.1.0/24", "dev", "eth0")
	if out, err := a.wan.Command("curl", "-sSk", "--max-time", "2", base).CombinedOutput(); err == nil {
		t.Errorf("from the Internet: %s", out)
	}
}

// resolve asks the LAN for the address of a name (RFC 6762 section 5.1).
func resolve(t *testing.T, p phone, name string) (addr string) {
	t.Helper()
	query := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	packet, err := query.Pack()
	if err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, func() error {
		var c *net.UDPConn
		if err := p.Host.Host.Do(func() (err error) { c, err = net.ListenUDP("udp4", nil); return err }); err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return err
		}
		if _, err := c.WriteToUDP(packet, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}); err != nil {
			return err
		}
		buf := make([]byte, 1500)
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		var m dnsmessage.Message
		if err := m.Unpack(buf[:n]); err != nil || len(m.Answers) != 1 {
			return fmt.Errorf("%+v: %w", m, err)
		}
		a, ok := m.Answers[0].Body.(*dnsmessage.AResource)
		if !ok {
			return fmt.Errorf("%+v", m)
		}
		addr = net.IP(a.A[:]).String()
		return nil
	})
	return addr
}

// errorOf is a text as an error.
type errorOf string

func (e errorOf) Error() string { return string(e) }
