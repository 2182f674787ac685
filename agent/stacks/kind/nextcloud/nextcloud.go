// Package nextcloud is Nextcloud with its database, its background jobs and TLS
// before it as a kind of stack.
//
// The official image is used: it is the one that keeps several majors under plain
// tags, installs from files without a visit to a page, and has hooks. It installs
// into an empty folder only, so nothing of ours is put there before: settings get
// into it by a hook at each start.
package nextcloud

import (
	"bytes"
	_ "embed"
	"fmt"
	"strings"

	"github.com/sae-agent/sae-agent/agent/stacks/kind"
)

// Name is the stack's name, and that of the service that it is about.
const Name = "nextcloud"

//go:embed images.json
var pinned []byte

// Config is what Nextcloud must be told. It is a kind.Kind.
type Config struct {
	HTTPSPort uint16
	// Passwords: of the administrator, of the database's account and of its root.
	AdminSecret, DBSecret, DBRootSecret string
	Users                               []kind.User // accounts to be made
}

// Names inside Nextcloud.
const (
	Admin    = "admin"     // the administrator's account
	database = "nextcloud" // the database and its account
	webUID   = 33          // www-data in the image
)

// What the services need to work, and what they may take.
const (
	appNeed, appLimit     = 384 * kind.MiB, 1536 * kind.MiB
	cronNeed, cronLimit   = 96 * kind.MiB, 768 * kind.MiB
	dbNeed, dbLimit       = 256 * kind.MiB, 768 * kind.MiB
	proxyNeed, proxyLimit = 48 * kind.MiB, 256 * kind.MiB
)

// Name implements kind.Kind.
func (Config) Name() string { return Name }

// Images implements kind.Kind.
func (Config) Images() map[string]kind.Image {
	images, _ := kind.ParseImages(pinned) // embedded, and tested
	cron := images["nextcloud"]           // of the same files
	cron.QuietDays = 0                    // and told of once
	images["cron"] = cron
	return images
}

// Render implements kind.Kind.
func (c Config) Render(s kind.Site, images map[string]kind.Image) (*kind.Project, error) {
	if err := kind.Need(images, "nextcloud", "mariadb", "caddy"); err != nil {
		return nil, err
	}
	images["cron"] = images["nextcloud"]
	p := &kind.Project{
		URL: fmt.Sprintf("https://%s:%d", s.Addr, c.HTTPSPort), Env: kind.EncodeEnv(nil),
		Services: map[string]kind.Service{
			"nextcloud": {Image: images["nextcloud"], Memory: appNeed}, "cron": {Image: images["nextcloud"], Memory: cronNeed},
			"mariadb": {Image: images["mariadb"], Memory: dbNeed}, "caddy": {Image: images["caddy"], Memory: proxyNeed},
		},
		Ports: []string{kind.Port(c.HTTPSPort) + "/tcp"},
		Foreign: map[string]kind.Note{"config": {
			What: "there is a Nextcloud of linuxserver's image, which this version of sae-agent does not run and does not touch",
			Fix:  "export what it has (its files are below data/), move the folder away, and 'sae-agent stacks up nextcloud' makes a new one",
		}},
	}
	settings := []kind.File{
		{Path: "settings/sae-agent.config.php", Content: c.settings(s), Mode: 0o644},
		{Path: "hooks/10-sae-agent.sh", Content: []byte(hook), Mode: 0o755},
	}
	// The containers' first programs read them as root, at the first start only.
	passwords := []kind.File{
		{Path: "secrets/app/admin", Content: []byte(c.AdminSecret + "\n"), Mode: 0o400},
		{Path: "secrets/app/database", Content: []byte(c.DBSecret + "\n"), Mode: 0o400},
		{Path: "secrets/database/database", Content: []byte(c.DBSecret + "\n"), Mode: 0o400},
		{Path: "secrets/database/root", Content: []byte(c.DBRootSecret + "\n"), Mode: 0o400},
	}
	tls := append(kind.Pages(s, "tls"), kind.File{Path: "proxy/Caddyfile", Content: []byte(caddyfile), Mode: 0o644})
	p.Files = append(append(settings, passwords...), tls...)
	for _, f := range []string{"settings", "hooks", "tls", "proxy", "database"} {
		p.Folders = append(p.Folders, kind.Folder{Path: f, Mode: 0o755})
	}
	for _, f := range []string{"secrets", "secrets/app", "secrets/database"} {
		p.Folders = append(p.Folders, kind.Folder{Path: f, Mode: 0o700})
	}
	p.Folders = append(p.Folders, kind.Folder{Path: "html", Mode: 0o755, UID: webUID}, kind.Folder{Path: "data", Mode: 0o770, UID: webUID})
	var err error
	p.Compose, err = kind.Compose{
		Name: "sae-" + Name, Services: map[string]kind.ComposeService{
			"nextcloud": app(s, images["nextcloud"], p.URL, settings), "cron": cron(s, images["nextcloud"]),
			"mariadb": db(s, images["mariadb"]), "caddy": c.proxy(s, images["caddy"], tls),
		},
		// The database's network leads nowhere, and no port of it is opened: 3306 is the exchange's.
		Networks: map[string]kind.Network{"web": kind.Bridge("sae-nextcloud", false), "database": kind.Bridge("sae-nextcl-db", true)},
	}.Encode()
	return p, err
}

func app(s kind.Site, i kind.Image, url string, settings []kind.File) kind.ComposeService {
	v := kind.Base(i, s, appLimit)
	v.Env("MYSQL_HOST", "mariadb", "MYSQL_DATABASE", database, "MYSQL_USER", database, "MYSQL_PASSWORD_FILE", "/run/secrets/database",
		"NEXTCLOUD_ADMIN_USER", Admin, "NEXTCLOUD_ADMIN_PASSWORD_FILE", "/run/secrets/admin", "NEXTCLOUD_DATA_DIR", "/data",
		"OVERWRITEPROTOCOL", "https", "OVERWRITECLIURL", url,
		"PHP_MEMORY_LIMIT", "512M", "PHP_UPLOAD_LIMIT", "16G", "APACHE_BODY_LIMIT", "0")
	v.Follow(settings...)
	v.Volumes = []string{
		"./html:/var/www/html", "./data:/data", "./secrets/app:/run/secrets:ro", "./settings:/sae-agent:ro",
		"./hooks:/docker-entrypoint-hooks.d/before-starting:ro",
	}
	v.Networks = kind.Attachments{"web": {}, "database": {}}
	v.DependsOn = map[string]kind.Depend{"mariadb": {Condition: kind.WhenHealthy}}
	v.StopGrace = "60s"
	// The first start copies the program, an update migrates the database: it takes minutes.
	v.Healthcheck = s.Health("900s", "curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1/status.php")
	return v
}

// cron runs the background jobs, as the image has it.
func cron(s kind.Site, i kind.Image) kind.ComposeService {
	v := kind.Base(i, s, cronLimit)
	v.Entrypoint = []string{"/cron.sh"}
	v.Env("PHP_MEMORY_LIMIT", "512M")
	v.Volumes = []string{"./html:/var/www/html", "./data:/data"}
	v.Networks = kind.Attachments{"web": {}, "database": {}}
	v.DependsOn = map[string]kind.Depend{"nextcloud": {Condition: kind.WhenHealthy}}
	return v
}

func db(s kind.Site, i kind.Image) kind.ComposeService {
	v := kind.Base(i, s, dbLimit)
	// What Nextcloud's manual asks of MariaDB. --log-bin=OFF would turn binary logs
	// on, in files of that name.
	v.Command = []string{"--transaction-isolation=READ-COMMITTED", "--skip-log-bin", "--innodb-buffer-pool-size=128M"}
	v.Env("MARIADB_DATABASE", database, "MARIADB_USER", database, "MARIADB_PASSWORD_FILE", "/run/secrets/database",
		"MARIADB_ROOT_PASSWORD_FILE", "/run/secrets/root", "MARIADB_AUTO_UPGRADE", "1")
	v.Volumes = []string{"./database:/var/lib/mysql", "./secrets/database:/run/secrets:ro"}
	v.Networks = kind.Attachments{"database": {}}
	v.StopGrace = "60s"
	v.Healthcheck = s.Health("120s", "healthcheck.sh", "--connect", "--innodb_initialized")
	return v
}

func (c Config) proxy(s kind.Site, i kind.Image, files []kind.File) kind.ComposeService {
	v := kind.Base(i, s, proxyLimit)
	v.User = fmt.Sprintf("%d:%d", kind.UID, kind.UID)
	v.ReadOnly, v.Tmpfs = true, []string{own("/data"), own("/config"), own("/tmp")}
	v.Follow(files...)
	v.Ports = []string{kind.Publish(s.Addr, kind.Port(c.HTTPSPort), "8443", "tcp")}
	v.Volumes = []string{"./proxy:/etc/caddy:ro", "./tls:/tls:ro"}
	v.Networks = kind.Attachments{"web": {}}
	v.DependsOn = map[string]kind.Depend{"nextcloud": {Condition: kind.WhenStarted}}
	v.Healthcheck = s.Health("60s", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/")
	return v
}

// own is a folder in memory that is UID's.
func own(path string) string {
	return fmt.Sprintf("%s:size=16M,mode=0700,uid=%d,gid=%d", path, kind.UID, kind.UID)
}

// caddyfile has Caddy speak TLS before Nextcloud. The image's Apache takes the
// client's address from X-Real-IP when it comes from a private network, so that
// Nextcloud sees the client itself and needs to trust no proxy.
const caddyfile = `# Written by sae-agent from /etc/sae-agent/config.yaml: changes made here are lost.
{
	admin off
	auto_https off
}

:8443 {
	tls /tls/cert.crt /tls/cert.key
	redir /.well-known/carddav /remote.php/dav 301
	redir /.well-known/caldav /remote.php/dav 301
	reverse_proxy nextcloud:80 {
		header_up X-Real-IP {remote_host}
		header_up -X-Forwarded-For
		header_up -X-Forwarded-Host
		header_up -X-Forwarded-Proto
	}
}

:8080 {
	respond 200
}
`

// hook puts our settings beside Nextcloud's own at each start, as its account.
const hook = `#!/bin/sh
# Written by sae-agent: changes made here are lost.
exec cp /sae-agent/sae-agent.config.php /var/www/html/config/sae-agent.config.php
`

// settings are ours to keep; Nextcloud reads them besides its own file.
func (c Config) settings(s kind.Site) []byte {
	domains := []string{php("127.0.0.1"), php("localhost"), php(s.Addr.String())}
	for _, n := range s.Names {
		domains = append(domains, php(n))
	}
	return phpArray("CONFIG", [][2]string{
		{"trusted_domains", "array(" + strings.Join(domains, ", ") + ")"},
		{"overwriteprotocol", php("https")},
		{"overwrite.cli.url", php(fmt.Sprintf("https://%s:%d", s.Addr, c.HTTPSPort))},
		{"maintenance_window_start", "1"}, // heavy background jobs at night, UTC
		{"upgrade.disable-web", "true"},   // updates are sae-agent's
		{"updatechecker", "false"},
		{"default_timezone", php(s.Timezone)},
	})
}

func phpArray(variable string, pairs [][2]string) []byte {
	var b bytes.Buffer
	b.WriteString("<?php\n")
	b.WriteString("// Written by sae-agent from /etc/sae-agent/config.yaml: changes made here are lost.\n")
	fmt.Fprintf(&b, "$%s = array(\n", variable)
	for _, p := range pairs {
		fmt.Fprintf(&b, "  %s => %s,\n", php(p[0]), p[1])
	}
	b.WriteString(");\n")
	return b.Bytes()
}

// php quotes a string as PHP has it between single quotes.
func php(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
