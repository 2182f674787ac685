package fail2ban_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/firewall/fail2ban"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func TestMain(m *testing.M) { lab.Main(m, func() error { return goleak.Find() }) }

// server is a real fail2ban with a configuration of its own, and an action that
// only notes what it is told.
type server struct {
	t    *testing.T
	host *labtest.Host
	dir  string // of its configuration, its socket and its logs
}

// ours is where the files of the package are.
const ours = "../../packaging/fail2ban"

func newServer(t *testing.T) *server {
	s := &server{t: t, host: labtest.New(t).Host("appliance"), dir: t.TempDir()}
	s.host.PackagedFail2ban()
	s.host.Run("cp", "-r", "/etc/fail2ban", s.path("fail2ban"))
	s.host.Run("rm", "-f", s.path("fail2ban/jail.d/defaults-debian.conf"))
	for _, dir := range []string{"filter.d", "action.d"} {
		s.host.Run("cp", "-r", filepath.Join(ours, dir), s.path("fail2ban"))
	}
	s.write("fail2ban/fail2ban.local", fmt.Sprintf("[Definition]\nlogtarget = STDOUT\ndbfile = None\nsocket = %s\npidfile = %s\n", s.path("sock"), s.path("pid")))
	s.write("fail2ban/action.d/sae-agent.local", "[Init]\ncommand = "+s.path("note")+"\n")
	s.write("note", "#!/bin/sh\necho \"$*\" >>"+s.path("notes")+"\n")
	s.host.Run("chmod", "+x", s.path("note"))
	s.write("notes", "")
	s.write("security.log", "")
	return s
}

func (s *server) path(name string) string { return filepath.Join(s.dir, name) }

func (s *server) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) read(name string) string {
	data, _ := os.ReadFile(s.path(name)) // an absent file is empty here
	return string(data)
}

// start runs the server until the test ends.
func (s *server) start() *labtest.Process {
	p := s.host.Start("fail2ban-server", "-c", s.path("fail2ban"), "-xf", "start")
	labtest.Eventually(s.t, func() error {
		_, err := s.run(s.t.Context(), "fail2ban-client", "-c", s.path("fail2ban"), "ping")
		return err
	})
	return p
}

func (s *server) run(ctx context.Context, argv ...string) (string, error) {
	cmd := s.host.Host.Command(ctx, argv[0], argv[1:]...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%v: %w: %s", argv, err, complaint.String())
	}
	return out.String(), nil
}

// manage runs a manager until the test ends.
func (s *server) manage(cfg fail2ban.Config) *fail2ban.Manager {
	s.t.Helper()
	m, err := fail2ban.New(cfg, fail2ban.Options{Run: s.run, Dir: s.path("fail2ban")})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	return m
}

func (s *server) jail() fail2ban.Config {
	return fail2ban.Config{
		Ignore: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("172.16.0.0/12")},
		Jails: []fail2ban.Jail{{
			Name: "sae-asterisk", Filter: "sae-agent-asterisk", Logs: []string{s.path("security.log")}, Reason: "wrong SIP passwords",
			Retries: 3, Window: 10 * time.Minute, Ban: time.Hour, LongestBan: 24 * time.Hour,
		}},
	}
}

// wrong appends a wrong answer to a challenge to the log, as Asterisk does.
func (s *server) wrong(from string, times int) {
	s.t.Helper()
	f, err := os.OpenFile(s.path("security.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	family := "IPV4"
	if strings.Contains(from, ":") {
		family = "IPV6"
	}
	for range times {
		fmt.Fprintf(f, `[%s] SECURITY[174] res_security_log.c: SecurityEvent="ChallengeResponseFailed",Severity="Error",Service="PJSIP",EventVersion="1",AccountID="100",SessionID="1",LocalAddress="%s/UDP/198.51.100.2/5060",RemoteAddress="%s/UDP/%s/5060",Challenge="",Response="",ExpectedResponse=""`+"\n",
			time.Now().Format("2006-01-02 15:04:05"), family, family, from)
	}
	if err := f.Close(); err != nil {
		s.t.Fatal(err)
	}
}

// noted waits until the action was told so.
func (s *server) noted(text string) {
	s.t.Helper()
	labtest.Eventually(s.t, func() error {
		if notes := s.read("notes"); !strings.Contains(notes, text) {
			return fmt.Errorf("%q is not among:\n%s", text, notes)
		}
		return nil
	})
}

func running(m *fail2ban.Manager, jails string) func() error {
	return func() error {
		if st := m.Status(); strings.Join(st.Jails, " ") != jails || st.Problem != "" {
			return fmt.Errorf("status: %+v", st)
		}
		return nil
	}
}

// From a jail in our configuration to a ban, and back.
func TestBanAndUnban(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.start()
	m := s.manage(s.jail())
	labtest.Eventually(t, running(m, "sae-asterisk"))
	s.wrong("192.168.1.20", 10)
	s.wrong("172.18.0.5", 10)
	s.wrong("203.0.113.9", 3)
	s.noted("bans add --jail sae-asterisk --reason wrong SIP passwords --attempts 3 --duration 3600s 203.0.113.9\n")
	s.wrong("2001:db8::9", 3)
	s.wrong("2001:db8::a", 3)
	s.noted("3600s 2001:db8::9\n")
	s.noted("3600s 2001:db8::a\n")
	if notes := s.read("notes"); strings.Contains(notes, "192.168.1.20") || strings.Contains(notes, "172.18.0.5") {
		t.Errorf("the LAN or a container was banned:\n%s", notes)
	}
	if err := m.Unban(t.Context(), netip.MustParsePrefix("2001:db8::/64")); err != nil {
		t.Fatal(err)
	}
	s.noted("bans remove --jail sae-asterisk 2001:db8::9\n")
	s.noted("bans remove --jail sae-asterisk 2001:db8::a\n")
	if notes := s.read("notes"); strings.Contains(notes, "bans remove --jail sae-asterisk 203.0.113.9\n") {
		t.Errorf("another one's ban was taken back:\n%s", notes)
	}
	s.wrong("203.0.113.10", 3)
	s.noted("3600s 203.0.113.10\n")
	if err := m.UnbanAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.noted("bans remove --jail sae-asterisk 203.0.113.9\n")
	s.noted("bans remove --jail sae-asterisk 203.0.113.10\n")
}

// The server may come later, be told otherwise by a second administrator, and
// need not run at all.
func TestServerComesLater(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	m := s.manage(s.jail())
	problem := func(text string) func() error {
		return func() error {
			if st := m.Status(); !strings.Contains(st.Problem, text) {
				return fmt.Errorf("status: %+v", st)
			}
			return nil
		}
	}
	labtest.Eventually(t, problem("does not run"))
	if err := m.Unban(t.Context(), netip.MustParsePrefix("203.0.113.9/32")); err != nil {
		t.Errorf("unban without a server: %v", err)
	}
	s.start()
	apply := func(cfg fail2ban.Config) {
		t.Helper()
		if err := m.Apply(cfg); err != nil {
			t.Fatal(err)
		}
	}
	apply(s.jail())
	labtest.Eventually(t, running(m, "sae-asterisk"))
	s.host.Run("fail2ban-client", "-c", s.path("fail2ban"), "stop", "sae-asterisk")
	apply(s.jail())
	labtest.Eventually(t, func() error {
		out, err := s.run(t.Context(), "fail2ban-client", "-c", s.path("fail2ban"), "status")
		return errors.Join(err, missing(out, "sae-asterisk"))
	})
	apply(fail2ban.Config{})
	labtest.Eventually(t, func() error {
		if s.read("fail2ban/jail.d/sae-agent-jails.conf") != "" {
			return errors.New("our file is still there")
		}
		return nil
	})
}

func missing(out, word string) error {
	if !strings.Contains(out, word) {
		return fmt.Errorf("no %q in:\n%s", word, out)
	}
	return nil
}

// What an administrator has written wrongly must not end the server by our doing,
// and the status says what is wrong.
func TestWrongConfigurationIsNotLoaded(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.start()
	s.write("fail2ban/jail.local", "[mine]\nenabled = true\nfilter = sshd\nlogpath = /nowhere/*.log\naction =\n")
	m := s.manage(s.jail())
	labtest.Eventually(t, func() error {
		return missing(m.Status().Problem, "Have not found any log file for mine jail")
	})
	if s.read("fail2ban/jail.d/sae-agent-jails.conf") != "" {
		t.Error("our file stays, and would be read at the server's next start")
	}
	if _, err := s.run(t.Context(), "fail2ban-client", "-c", s.path("fail2ban"), "ping"); err != nil {
		t.Errorf("the server has ended: %v", err)
	}
}

// Our jails are taken away, and with them an action whose program ends, also where what an administrator has written
// cannot be read.
func TestRemove(t *testing.T) {
	t.Parallel()
	for name, local := range map[string]string{"": "", "wrong": "[mine]\nenabled = true\nfilter = sshd\nlogpath = /nowhere/*.log\naction =\n"} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.write("fail2ban/jail.d/sae-agent-jails.conf", string(fail2ban.Render(s.jail())))
			s.start()
			s.write("fail2ban/jail.local", local)
			opts := fail2ban.Options{Run: s.run, Dir: s.path("fail2ban")}
			for range 2 { // the second time there is nothing to do
				if err := fail2ban.Remove(t.Context(), opts); err != nil {
					t.Error(err)
				}
			}
			out, err := s.run(t.Context(), "fail2ban-client", "-c", s.path("fail2ban"), "status")
			if err != nil || strings.Contains(out, "sae-asterisk") || s.read("fail2ban/jail.d/sae-agent-jails.conf") != "" {
				t.Errorf("after it: %v\n%s", err, out)
			}
		})
	}
}
