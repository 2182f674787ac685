//go:build templates

package jitsi

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"github.com/sae-agent/sae-agent/agent/stacks/kind/kindtest"
	"github.com/sae-agent/sae-agent/packaging/dev/docker/dockertest"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// The configuration that the images' own templates make of the project's environment is
// taken by Debian's nginx and prosody. The project's checks of both are content, and the
// services get in through the page with the passwords of their own environments.
func TestRealServersTakeTheTemplates(t *testing.T) {
	templates := filepath.Join(dockertest.Build(t), "_jitsi")
	if _, err := os.Stat(templates); err != nil {
		t.Fatal("the images' templates are not here: packaging/dev/docker/jitsi fetches them")
	}
	root, err := os.MkdirTemp("/tmp", "jitsi") // below a folder that other accounts get into
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	c, s := config(), kindtest.Site()
	c.JicofoSecret, c.JVBSecret, c.JigasiSecret = "jicofo"+kindtest.Nasty, "jvb"+kindtest.Nasty, "jigasi"+kindtest.Nasty
	services := kindtest.Compose(t, kindtest.Render(t, c, s)).Services
	render := func(service, from, to string) {
		t.Helper()
		env := make(map[string]string)
		for name, v := range services[service].Environment {
			env[name] = value(v)
		}
		writeTemplate(t, root, filepath.Join(templates, from), filepath.Join(root, to), env)
	}
	web, xmpp := "web/rootfs/defaults/", "prosody/rootfs/"
	render("web", web+"nginx.conf", "run/web/config/nginx/nginx.conf")
	render("web", web+"meet.conf", "run/web/config/nginx/meet.conf")
	render("web", web+"ssl.conf", "run/web/config/nginx/ssl.conf")
	render("web", web+"default", "run/web/config/nginx/site-confs/default")
	render("web", web+"ffdhe2048.txt", "defaults/ffdhe2048.txt")
	render("prosody", xmpp+"defaults/prosody.cfg.lua", "run/prosody/config/prosody.cfg.lua")
	render("prosody", xmpp+"defaults/conf.d/jitsi-meet.cfg.lua", "run/prosody/config/conf.d/jitsi-meet.cfg.lua")
	render("prosody", xmpp+"prosody-plugins/mod_http_health.lua", "prosody-plugins/mod_http_health.lua")
	cert, key := dockertest.Certificate(t, "192.168.1.1")
	for path, data := range map[string][]byte{
		"storage/keys/cert.crt": cert, "storage/keys/cert.key": key, "usr/share/jitsi-meet/index.html": []byte("the meetings' page\n"),
		"run/prosody/config/certs/meet.jitsi.crt": cert, "run/prosody/config/certs/meet.jitsi.key": key,
		"run/prosody/config/certs/auth.meet.jitsi.crt": cert, "run/prosody/config/certs/auth.meet.jitsi.key": key,
		"var/lib/prosody/data/.keep": nil,
	} {
		write(t, filepath.Join(root, path), data)
	}
	host := labtest.New(t).Host("jitsi")
	host.Run("chown", "-R", "1000:1000", root)
	lua, nginx := filepath.Join(root, "run/prosody/config/prosody.cfg.lua"), filepath.Join(root, "run/web/config/nginx/nginx.conf")
	as := func(argv ...string) []string {
		return append([]string{"--reuid=1000", "--regid=1000", "--clear-groups"}, argv...)
	}
	accounts := map[string]string{"jicofo": "JICOFO_AUTH_PASSWORD", "jvb": "JVB_AUTH_PASSWORD", "jigasi": "JIGASI_XMPP_PASSWORD"}
	for name, variable := range accounts { // which the image's start does
		host.Run("setpriv", as("prosodyctl", "--config", lua, "register", name, "auth.meet.jitsi", value(services["prosody"].Environment[variable]))...)
	}
	host.Run("nginx", "-t", "-c", nginx)
	host.Start("setpriv", as("prosody", "--config", lua, "-F")...)
	host.Start("nginx", "-c", nginx)
	for _, service := range []string{"prosody", "web"} {
		test := services[service].Healthcheck.Test
		labtest.Eventually(t, func() error {
			out, err := host.Command(test[1], test[2:]...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%s: %w: %s", service, err, out)
			}
			return nil
		})
	}
	for path, want := range map[string]string{"/": "the meetings' page", "/http-bind": "BOSH"} { // as Ready asks
		if out := host.Run("curl", "-sSkf", "https://127.0.0.1:8443"+path); !strings.Contains(out, want) {
			t.Errorf("%s: %s", path, out)
		}
	}
	for name, variable := range accounts {
		labtest.Eventually(t, func() error { return logIn(host, name, value(services[name].Environment[variable])) })
	}
	if err := logIn(host, "jvb", "another"); err == nil {
		t.Error("any password does")
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// writeTemplate does what the images' tpl does, below a folder instead of /.
func writeTemplate(t *testing.T, root, from, to string, env map[string]string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := template.New(filepath.Base(from)).Funcs(functions()).Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := parsed.Execute(&b, map[string]any{"Env": env}); err != nil {
		t.Fatal(err)
	}
	out := b.String()
	for _, dir := range []string{"/run/", "/storage/", "/defaults/", "/usr/share/jitsi-meet", "/var/lib/prosody", "/prosody-plugins/"} {
		for _, before := range []string{" ", `"`} {
			out = strings.ReplaceAll(out, before+dir, before+root+dir)
		}
	}
	// One machine stands for both containers.
	out = strings.ReplaceAll(out, "xmpp.meet.jitsi", "127.0.0.1")
	write(t, to, []byte(strings.ReplaceAll(out, "include /etc/nginx/modules-enabled/*.conf;", "")))
}

// functions are those of tpl's that the templates call.
func functions() template.FuncMap {
	empty := func(v any) bool { return v == nil || v == "" || v == 0 || v == false }
	return template.FuncMap{
		"default": func(d any, given ...any) any {
			if len(given) == 0 || empty(given[0]) {
				return d
			}
			return given[0]
		},
		"toBool":    func(v any) bool { b, _ := strconv.ParseBool(fmt.Sprint(v)); return b },
		"splitList": func(sep, s string) []string { return strings.Split(s, sep) },
		"compact":   func(list []string) []string { return slices.DeleteFunc(list, func(s string) bool { return s == "" }) },
		"join": func(sep string, list any) string {
			l, _ := list.([]string)
			return strings.Join(l, sep)
		},
		"trimSuffix": func(cut, s string) string { return strings.TrimSuffix(s, cut) },
		"trimPrefix": func(cut, s string) string { return strings.TrimPrefix(s, cut) },
		"split":      func(sep, s string) map[string]string { return numbered(strings.Split(s, sep)) },
		"splitn":     func(sep string, n int, s string) map[string]string { return numbered(strings.SplitN(s, sep, n)) },
		"add":        func(a, b int) int { return a + b },
	}
}

// numbered names parts _0, _1 and so on.
func numbered(parts []string) map[string]string {
	out := make(map[string]string)
	for i, p := range parts {
		out["_"+strconv.Itoa(i)] = p
	}
	return out
}
