package install

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// A real Apache of Debian, with FreePBX's pages in its root and an .htaccess as they
// have: before there is an administrator it serves the machine itself and the address
// that was named, and nobody else.
func TestGuardInApache(t *testing.T) {
	l := labtest.New(t)
	lan, pbx := l.Switch("lan"), l.Host("pbx")
	lan.Plug(pbx, "ens34")
	pbx.Addr("ens34", "192.168.1.1/24")
	clients := make(map[string]*labtest.Host)
	for name, addr := range map[string]string{"admin": "192.168.1.50/24", "stranger": "192.168.1.51/24"} {
		clients[name] = l.Host(name)
		lan.Plug(clients[name], "eth0")
		clients[name].Addr("eth0", addr)
	}
	conf := apacheFiles(t)
	guard := Guard{conf}
	if err := guard.Put([]netip.Prefix{netip.MustParsePrefix("192.168.1.50/32")}); err != nil {
		t.Fatal(err)
	}
	serve := func() *labtest.Process {
		return pbx.Start("apache2", "-DFOREGROUND", "-f", filepath.Join(conf, "etc/apache2/apache2.conf"))
	}
	// get asks for a page and returns the status.
	get := func(from *labtest.Host, url string) (status string) {
		labtest.Eventually(t, func() (err error) {
			out, err := from.Command("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", url).Output()
			status = string(out)
			return err
		})
		return status
	}
	apache := serve()
	for name, c := range map[string]struct {
		from *labtest.Host
		url  string
		want string
	}{
		"the machine":              {pbx, "http://127.0.0.1/admin/config.php", "200"},
		"the machine, by its name": {pbx, "http://192.168.1.1/admin/config.php", "200"},
		"the admin":                {clients["admin"], "http://192.168.1.1/admin/config.php", "200"},
		"a stranger":               {clients["stranger"], "http://192.168.1.1/admin/config.php", "403"},
		"a stranger, elsewhere":    {clients["stranger"], "http://192.168.1.1/ucp/", "403"},
		"a stranger, other port":   {clients["stranger"], "http://192.168.1.1:81/admin/config.php", "403"},
		"what nobody may read":     {clients["admin"], "http://192.168.1.1/admin/.htaccess", "403"},
	} {
		if got := get(c.from, c.url); got != c.want {
			t.Errorf("%s gets %s for %s, want %s", name, got, c.url, c.want)
		}
	}
	if page := clients["stranger"].Run("curl", "-sS", "http://192.168.1.1/admin/"); !strings.Contains(page, "--admin-from") {
		t.Errorf("a stranger gets %q", page)
	}
	if err := apache.Stop(); err != nil {
		t.Log(err)
	}
	if err := guard.Remove(); err != nil {
		t.Fatal(err)
	}
	serve()
	if got := get(clients["stranger"], "http://192.168.1.1/admin/config.php"); got != "200" {
		t.Errorf("with an administrator, the LAN gets %s", got)
	}
	if entries, err := os.ReadDir(filepath.Join(conf, "etc/apache2/conf-enabled")); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// apacheFiles writes an Apache's configuration that is laid out as Debian's, and pages.
func apacheFiles(t *testing.T) string {
	t.Helper()
	conf, root := t.TempDir(), t.TempDir()
	for _, dir := range []string{conf, root} { // Apache's workers have an account of their own
		for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	for path, text := range map[string]string{
		filepath.Join(conf, "etc/apache2/apache2.conf"): `ServerRoot "` + conf + `"
ServerName pbx
PidFile ` + conf + `/pid
ErrorLog /dev/stderr
User www-data
Group www-data
Listen 80
Listen 81
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule authz_host_module /usr/lib/apache2/modules/mod_authz_host.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
<Directory />
    AllowOverride None
    Require all denied
</Directory>
<Directory ` + root + `>
    AllowOverride All
    Require all granted
</Directory>
<FilesMatch "^\.ht">
    Require all denied
</FilesMatch>
IncludeOptional ` + conf + `/etc/apache2/conf-enabled/*.conf
<VirtualHost *:80>
    DocumentRoot ` + root + `
</VirtualHost>
<VirtualHost *:81>
    DocumentRoot ` + root + `
</VirtualHost>
`,
		filepath.Join(root, "admin/config.php"): "first run\n", filepath.Join(root, "admin/index.html"): "x\n", filepath.Join(root, "ucp/index.html"): "x\n",
		filepath.Join(root, "admin/.htaccess"): "Require all granted\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return conf
}
