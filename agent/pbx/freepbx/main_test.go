package freepbx

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/pbx/ami"
	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func TestMain(m *testing.M) {
	lab.Main(m, func() error { database.stop(); return goleak.Find() })
}

// pbxHere is a FreePBX: a real MariaDB, a real Asterisk, and stand-ins for fwconsole and
// for the API. It runs what the driver has run.
type pbxHere struct {
	t        *testing.T
	host     *labtest.Host
	asterisk *labtest.Asterisk
	dir      string
	sock     string  // of the database
	db       *sql.DB // with all rights
	machine  *Machine
	driver   *Driver
	standin  *standin
	record   string
	api      *apiStandin
	ask      func(context.Context) (map[string]pbx.Account, error)
	clock    time.Time
	booted   time.Time // when Asterisk was started, by the same clock

	mu      sync.Mutex // guards the following
	refuses bool       // after the next reload the manager interface refuses the service once, as was seen
	refused int        // log-ins that are still to be refused
	managed []net.Conn // the service's connections to the manager interface
}

func newPBX(t *testing.T) *pbxHere {
	t.Helper()
	p := &pbxHere{t: t, host: labtest.New(t).Host("appliance"), dir: t.TempDir(), clock: time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC), ask: accountsOf(ami.New(ami.Config{}))}
	p.asterisk = p.host.Asterisk(map[string]string{
		"pjsip.conf":          "#include pjsip_standin.conf\n",
		"manager.conf":        "[general]\nenabled=yes\nbindaddr=127.0.0.1\n#include manager_custom.conf\n",
		"manager_custom.conf": "; the admin's own line", "extensions_custom.conf": "",
		"extensions.conf": "[from-internal]\ninclude => from-internal-custom\ninclude => ext-local\n[ext-local]\nexten => _1XX,1,Dial(PJSIP/${EXTEN})\n#include extensions_custom.conf\n",
		"voicemail.conf":  "[general]\nformat=wav49|wav\n[default]\n", "pjsip_standin.conf": "[transport]\ntype=transport\nprotocol=udp\nbind=127.0.0.1\n",
	})
	for _, name := range []string{"manager_custom.conf", "extensions_custom.conf"} { // as FreePBX's are
		if err := os.Chown(filepath.Join(p.asterisk.Etc(), name), 101, 101); err != nil {
			t.Fatal(err)
		}
	}
	p.sock = database.start(t)
	p.db = p.open("root@unix(" + p.sock + ")/?multiStatements=true")
	// The driver's account may read and nothing else.
	p.exec("CREATE DATABASE asterisk; CREATE USER freepbxuser@localhost IDENTIFIED BY 'it''s \"secret\"'; GRANT SELECT ON asterisk.* TO freepbxuser@localhost")
	p.db.Close()
	p.db = p.open("root@unix(" + p.sock + ")/asterisk?multiStatements=true")
	tables, err := os.ReadFile("testdata/tables.sql")
	if err != nil {
		t.Fatal(err)
	}
	p.exec(string(tables))
	p.api = &apiStandin{p: p}
	web := httptest.NewServer(p.api)
	t.Cleanup(web.Close)

	p.standin = &standin{db: p.db, dir: p.dir, etc: p.asterisk.Etc(), run: p.asterisk.Run(), out: io.Discard}
	p.machine = NewMachine(p, t.TempDir())
	p.machine.URL, p.machine.Account, p.machine.Etc = web.URL, "nobody-here", p.asterisk.Etc()
	t.Cleanup(p.machine.client.CloseIdleConnections)
	p.record = filepath.Join(t.TempDir(), "freepbx.json")
	p.credentials()
	p.restart()
	// Nobody is logged in to the manager interface before the driver has let us in.
	if _, err := p.driver.Apply(t.Context(), pbx.Desired{ManagerUser: "sae-agent", ManagerSecret: "correct-horse"}); !errors.Is(err, ami.ErrNotConnected) {
		t.Fatalf("the first time: %v", err)
	}
	p.ask = accountsOf(p.manager())
	p.restart()
	return p
}

// credentials writes FreePBX's file with those of the database.
func (p *pbxHere) credentials() {
	p.machine.Conf = filepath.Join(p.dir, "freepbx.conf")
	p.write("freepbx.conf", "<?php\n$amp_conf['AMPDBUSER'] = 'freepbxuser';\n$amp_conf['AMPDBPASS'] = 'it\\'s \"secret\"';\n"+
		"$amp_conf['AMPDBHOST'] = 'localhost';\n$amp_conf['AMPDBSOCK'] = '"+p.sock+"';\n$amp_conf['AMPDBNAME'] = 'asterisk';\n")
}

// reset makes it a FreePBX without extensions, as its installation leaves it, and the driver one of a new machine.
func (p *pbxHere) reset() {
	p.t.Helper()
	for _, table := range []string{"devices", "users", "sip", "ampusers"} {
		p.exec("DELETE FROM " + table)
	}
	p.exec("DELETE FROM kvstore_Sipsettings WHERE `key` = 'localnets'; UPDATE kvstore_Sipsettings SET val = '203.0.113.9' WHERE `key` = 'externip'; UPDATE freepbx_settings SET value = 'VoIP Server' WHERE keyword = 'FREEPBX_SYSTEM_IDENT'")
	for _, family := range []string{"AMPUSER", "CW", "CustomPresence", "registrar"} {
		p.asterisk.CLI("database deltree " + family)
	}
	p.credentials()
	p.behave("")
	p.booted, p.api.refuse, p.machine.api, p.machine.Asterisk = time.Time{}, false, credential{}, "asterisk"
	err := os.WriteFile(filepath.Join(p.machine.Etc, "voicemail.conf"), []byte("[general]\nformat=wav\n[default]\n"), 0o644)
	if err := errors.Join(err, p.standin.reload(), os.RemoveAll(p.record)); err != nil {
		p.t.Fatal(err)
	}
	labtest.Eventually(p.t, func() error {
		if list, err := p.ask(p.t.Context()); err != nil || len(list) > 0 {
			return fmt.Errorf("endpoints: %v, %w", list, err)
		}
		return nil
	})
	p.restart()
	p.calls()
}

// restart makes a new driver, as a new daemon does.
func (p *pbxHere) restart() {
	p.driver = New(Options{
		System: p.machine, Accounts: p.ask, Started: func(context.Context) (time.Time, error) { return p.booted, nil }, Record: p.record, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return p.clock },
	})
}

func (p *pbxHere) write(name, content string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// behave tells fwconsole how to.
func (p *pbxHere) behave(mode string) { p.t.Helper(); p.write("mode", mode) }

// calls are the commands that fwconsole was given since the last time.
func (p *pbxHere) calls() string {
	path := filepath.Join(p.dir, "calls")
	data, _ := os.ReadFile(path)
	_ = os.Remove(path)
	return strings.ReplaceAll(strings.TrimSpace(string(data)), "\n", ", ")
}

func (p *pbxHere) open(dsn string) *sql.DB {
	p.t.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { db.Close() })
	labtest.Eventually(p.t, db.Ping)
	return db
}

func (p *pbxHere) exec(query string, args ...any) {
	p.t.Helper()
	if _, err := p.db.Exec(query, args...); err != nil {
		p.t.Fatal(err)
	}
}

// accountsOf asks over a manager connection, as the agent does.
func accountsOf(c *ami.Client) func(context.Context) (map[string]pbx.Account, error) {
	return func(ctx context.Context) (map[string]pbx.Account, error) { return pbx.Accounts(ctx, c) }
}

// manager keeps a connection to the real Asterisk.
func (p *pbxHere) manager() *ami.Client {
	c := ami.New(ami.Config{Addr: "127.0.0.1:5038", User: "sae-agent", Secret: "correct-horse", Dial: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = p.host.Host.Do(func() error {
			conn, err = new(net.Dialer).DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	p.t.Cleanup(func() { cancel(); <-done })
	labtest.Eventually(p.t, func() error { return c.Status().Err })
	labtest.Eventually(p.t, func() error {
		if !c.Status().Up {
			return errors.New("not logged in")
		}
		return nil
	})
	return c
}

// try reconciles the PBX.
func (p *pbxHere) try(mayDelete bool, want ...pbx.Extension) (result, error) {
	w := p.driver.work(pbx.Desired{Extensions: want})
	if err := w.read(p.t.Context()); err != nil {
		return result{}, err
	}
	err := w.do(p.t.Context(), mayDelete)
	return w.result, err
}

// apply is try, which must not fail as a whole.
func (p *pbxHere) apply(mayDelete bool, want ...pbx.Extension) result {
	p.t.Helper()
	r, err := p.try(mayDelete, want...)
	if err != nil {
		p.t.Fatalf("apply: %v (%+v)", err, r)
	}
	return r
}

// found reads one extension.
func (p *pbxHere) found(number string) Found {
	p.t.Helper()
	all, err := p.machine.Extensions(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return all[number]
}

// Run implements Runner: fwconsole is the stand-in, and Asterisk's console is asked without its program.
func (p *pbxHere) Run(ctx context.Context, c runner.Command) (r runner.Result, err error) {
	var stdout, stderr bytes.Buffer
	switch c.Argv[0] {
	case "fwconsole":
		called := *p.standin
		called.out = &stdout
		r.Exit = called.command(c.Argv[1:], &stderr)
		if c.Argv[1] == "reload" && r.Exit == 0 {
			p.reloaded()
		}
	case "asterisk":
		out, err := p.asterisk.Server.CLI(ctx, c.Argv[2])
		if stdout.WriteString(out); err != nil {
			fmt.Fprintln(&stderr, err)
			r.Exit = 1
		}
	default:
		r, err = run(ctx, c, &stdout, &stderr)
	}
	r.Stdout, r.Stderr = stdout.Bytes(), stderr.Bytes()
	if c.Stdout != nil {
		_, _ = c.Stdout.Write(r.Stdout)
	}
	return r, err
}

// reloaded ends the service's connections to the manager interface where the next one is to be refused.
func (p *pbxHere) reloaded() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.refuses {
		return
	}
	p.refuses = false
	p.refused++
	for _, conn := range p.managed {
		_ = conn.Close()
	}
	p.managed = nil
}

// refuseAfterReload has the manager interface refuse the service once after the next reload that works.
func (p *pbxHere) refuseAfterReload() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = true
}

// manage watches a connection of the service to the manager interface.
func (p *pbxHere) manage(conn net.Conn) net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.managed = append(p.managed, conn)
	return &refusing{conn, p}
}

// refusing spoils the proof of a log-in that is to be refused.
type refusing struct {
	net.Conn
	p *pbxHere
}

func (r *refusing) Write(b []byte) (int, error) {
	const key = "\r\nKey: "
	r.p.mu.Lock()
	spoil := r.p.refused > 0 && bytes.Contains(b, []byte(key))
	if spoil {
		r.p.refused--
	}
	r.p.mu.Unlock()
	if !spoil {
		return r.Conn.Write(b)
	}
	_, err := r.Conn.Write(bytes.Replace(b, []byte(key), []byte(key+"0"), 1))
	return len(b), err
}

func run(ctx context.Context, c runner.Command, stdout, stderr io.Writer) (runner.Result, error) {
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(c.Stdin), stdout, stderr
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		return runner.Result{}, err
	}
	return runner.Result{Exit: cmd.ProcessState.ExitCode()}, nil
}

// mariaDB is Debian's, on a socket of its own; one serves all tests, one after another.
type mariaDB struct {
	dir string // a short path: a socket's has 107 bytes at most
	cmd *exec.Cmd
}

var database mariaDB

func (m *mariaDB) start(t *testing.T) (sock string) {
	t.Helper()
	if m.cmd != nil {
		return filepath.Join(m.dir, "sock")
	}
	var err error
	if m.dir, err = os.MkdirTemp("", "db"); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(m.dir, "data")
	out, err := exec.Command("mariadb-install-db", "--no-defaults", "--user=root", "--auth-root-authentication-method=normal", "--skip-test-db", "--datadir="+data).CombinedOutput()
	if err != nil {
		t.Fatalf("mariadb-install-db (Debian package mariadb-server): %v\n%s", err, out)
	}
	sock = filepath.Join(m.dir, "sock")
	m.cmd = exec.Command("mariadbd", "--no-defaults", "--user=root", "--datadir="+data, "--socket="+sock, "--skip-networking",
		"--pid-file="+filepath.Join(m.dir, "pid"), "--innodb-buffer-pool-size=8M", "--innodb-flush-log-at-trx-commit=0")
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return sock
}

func (m *mariaDB) stop() {
	if m.cmd != nil {
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait()
	}
	_ = os.RemoveAll(m.dir)
}

// apiStandin is FreePBX's API as far as the driver uses it.
type apiStandin struct {
	p       *pbxHere
	mu      sync.Mutex
	refuse  bool
	deleted []string
}

func (a *apiStandin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch r.URL.Path {
	case "/admin/api/api/token":
		secret, _ := os.ReadFile(filepath.Join(a.p.dir, "client"))
		if r.PostFormValue("client_secret") != string(secret) || r.PostFormValue("grant_type") != "client_credentials" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":"invalid_client","message":"Client authentication failed"}`))
			return
		}
		_, _ = w.Write([]byte(`{"token_type":"Bearer","expires_in":3600,"access_token":"the-token"}`))
	case "/admin/api/api/gql":
		a.gql(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (a *apiStandin) gql(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Query     string
		Variables struct{ N, Net, Mask string }
	}
	if r.Header.Get("Authorization") != "Bearer the-token" || json.NewDecoder(r.Body).Decode(&q) != nil {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"errors":[{"message":"bad request"}]}`))
		return
	}
	self, err := a.p.standin, errors.New("Extension does not exists.")
	switch {
	case strings.Contains(q.Query, "addSipNatLocalIp"):
		err = nil // whatever happens
		if !a.refuse {
			err = self.addLocalNetwork(q.Variables.Net, q.Variables.Mask)
		}
	case !a.refuse:
		err = self.remove(q.Variables.N)
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest) // as FreePBX when the status is false
		fmt.Fprintf(w, `{"data":{"done":{"status":false,"message":%q}}}`, err.Error())
		return
	}
	if q.Variables.N != "" {
		a.deleted = append(a.deleted, q.Variables.N)
	}
	_, _ = w.Write([]byte(`{"data":{"done":{"status":true,"message":"Extension has been deleted"}}}`))
}
