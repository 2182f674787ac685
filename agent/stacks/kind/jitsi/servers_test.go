package jitsi

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/agent/stacks/kind/kindtest"
	"github.com/sae-agent/sae-agent/packaging/dev/docker/dockertest"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func TestMain(m *testing.M) { lab.Main(m, func() error { return goleak.Find() }) }

// What the images' start makes of the project's variables and files, as far as we
// have a say in it. DIR is where the files are.
const (
	nginxConfig = `
daemon off;
pid DIR/nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path DIR/client_body;
    proxy_temp_path DIR/proxy;
    fastcgi_temp_path DIR/fastcgi;
    uwsgi_temp_path DIR/uwsgi;
    scgi_temp_path DIR/scgi;
    server {
        listen 8443 ssl;
        server_name NAME;
        ssl_certificate DIR/web/keys/cert.crt;
        ssl_certificate_key DIR/web/keys/cert.key;
        location = / {
            return 200;
        }
        location = /http-bind {
            proxy_pass http://xmpp.meet.jitsi:5280/http-bind;
            proxy_set_header Host meet.jitsi;
        }
    }
}
`
	prosodyConfig = `
pidfile = "DIR/prosody.pid"
data_path = "DIR/storage/prosody"
log = { { levels = { min = "warn" }, to = "console" } }
modules_enabled = { "saslauth", "bosh" }
modules_disabled = { "s2s", "c2s" }
http_ports = { 5280 }
https_ports = {}
authentication = "internal_hashed"
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
trusted_proxies = { "127.0.0.1" }
VirtualHost "meet.jitsi"
    authentication = "anonymous"
VirtualHost "auth.meet.jitsi"
Component "muc.meet.jitsi" "muc"
`
)

// Debian's nginx and prosody take the certificate, names and passwords that the
// project has for their containers: the services get in through the page with what
// their own environments say.
func TestRealServersTakeTheProject(t *testing.T) {
	c, s := config(), kindtest.Site()
	c.JicofoSecret, c.JVBSecret, c.JigasiSecret = "jicofo"+kindtest.Nasty, "jvb"+kindtest.Nasty, "jigasi"+kindtest.Nasty
	s.Certificate, s.Key = dockertest.Certificate(t, "192.168.1.1")
	project := kindtest.Render(t, c, s)
	services := kindtest.Compose(t, project).Services
	dir := unpack(t, project)
	host := labtest.New(t).Host("jitsi")
	page, err := url.Parse(services["web"].Environment["PUBLIC_URL"])
	if err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("DIR", dir, "NAME", page.Hostname())
	for name, text := range map[string]string{"nginx.conf": nginxConfig, "prosody.cfg.lua": prosodyConfig} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fill.Replace(text)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	host.Run("chown", "-R", fmt.Sprintf("%d:%[1]d", kind.UID), filepath.Join(dir, "storage"))
	host.Run("chown", fmt.Sprint(kind.UID), dir)
	as := func(argv ...string) []string {
		return append([]string{fmt.Sprintf("--reuid=%d", kind.UID), fmt.Sprintf("--regid=%d", kind.UID), "--clear-groups"}, argv...)
	}
	lua := filepath.Join(dir, "prosody.cfg.lua")
	host.Run("prosodyctl", "--config", lua, "--root", "check", "config")
	accounts := map[string]string{"jicofo": "JICOFO_AUTH_PASSWORD", "jvb": "JVB_AUTH_PASSWORD", "jigasi": "JIGASI_XMPP_PASSWORD"}
	for name, variable := range accounts { // as prosody's container is told
		host.Run("setpriv", as("prosodyctl", "--config", lua, "register", name, "auth.meet.jitsi", value(services["prosody"].Environment[variable]))...)
	}
	host.Start("setpriv", as("prosody", "--config", lua, "-F")...)
	for _, alias := range services["prosody"].Networks["meet"].Aliases { // by which the page's container finds it
		host.Run("sh", "-c", `echo "127.0.0.1 $0" >>/etc/hosts`, alias)
	}
	// As the images' account: it must be able to read the key.
	conf := filepath.Join(dir, "nginx.conf")
	host.Run("setpriv", as("nginx", "-t", "-c", conf)...)
	host.Start("setpriv", as("nginx", "-c", conf)...)
	for name, variable := range accounts { // as the account's own container is told
		labtest.Eventually(t, func() error { return logIn(host, name, value(services[name].Environment[variable])) })
	}
	if test := services["web"].Healthcheck.Test; test[0] != "CMD" {
		t.Errorf("the page's check is %q", test)
	} else {
		host.Run(test[1], test[2:]...)
	}
	if err := logIn(host, "jvb", "another"); err == nil {
		t.Error("any password does")
	}
}

// value is a variable without what config escapes.
func value(v string) string { return strings.ReplaceAll(v, "$$", "$") }

// unpack writes a project's files below a folder that other accounts get into.
func unpack(t *testing.T, p *kind.Project) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "jitsi")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	err = errors.Join(os.Chmod(dir, 0o755), os.MkdirAll(filepath.Join(dir, "storage/prosody"), 0o755))
	for _, f := range p.Files {
		path := filepath.Join(dir, f.Path)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, f.Content, f.Mode), os.Chown(path, 0, f.GID))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var sessionID = regexp.MustCompile(`sid='([^']+)'`)

// logIn asks the page for a session of an account, as BOSH (XEP-0206) has it.
func logIn(host *labtest.Host, name, password string) error {
	ask := func(attributes, content string) (string, error) {
		body := `<body xmlns='http://jabber.org/protocol/httpbind' ` + attributes + `>` + content + `</body>`
		out, err := host.Command("curl", "-sSkf", "--max-time", "10", "--header", "Content-Type: text/xml", "--data", body, "https://127.0.0.1:8443/http-bind").CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("%w: %s", err, out)
		}
		return string(out), nil
	}
	out, err := ask(`rid='1' to='auth.meet.jitsi' wait='5' hold='1' ver='1.6' xml:lang='en' xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'`, "")
	if err != nil {
		return err
	}
	sid := sessionID.FindStringSubmatch(out)
	if sid == nil {
		return fmt.Errorf("no session: %s", out)
	}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + name + "\x00" + password))
	out, err = ask(`rid='2' sid='`+sid[1]+`'`, `<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>`+plain+`</auth>`)
	if err == nil && !strings.Contains(out, "<success") {
		err = fmt.Errorf("%s does not get in: %s", name, out)
	}
	return err
}
