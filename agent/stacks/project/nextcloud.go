package project

import (
	"bytes"
	"fmt"
	"strings"
)

// NextcloudConfig is what Nextcloud must be told.
type NextcloudConfig struct {
	HTTPSPort uint16
	// Passwords: of the administrator, of the database's account and of its root.
	AdminSecret, DBSecret, DBRootSecret string
}

// Names inside Nextcloud.
const (
	Admin    = "admin"     // the administrator's account
	database = "nextcloud" // the database and its account
)

// What Nextcloud's services need to work, and what they may take.
const (
	nextcloudNeed, nextcloudLimit = 384 * mib, 1536 * mib
	mariadbNeed, mariadbLimit     = 256 * mib, 768 * mib
)

func renderNextcloud(s Site, c NextcloudConfig, images Images) (*Project, error) {
	image, err := images.get(Nextcloud, "nextcloud", "mariadb")
	if err != nil {
		return nil, err
	}
	files, labels := pages(s, "tls")
	app := base(image["nextcloud"], nextcloudLimit)
	app.env("PUID", fmt.Sprint(UID), "PGID", fmt.Sprint(UID), "TZ", s.Timezone)
	app.Labels = labels
	app.Ports = []string{publish(s.Addr, port(c.HTTPSPort), "443", "tcp")}
	app.Volumes = []string{"./config:/config", "./data:/data", "./tls:/sae-agent/tls:ro", "./sae-agent.config.php:" + nextcloudConfig + "/sae-agent.config.php:ro"}
	app.Networks = networks{"web": {}, "database": {}}
	app.DependsOn = map[string]depend{"mariadb": {whenHealthy}}
	app.StopGrace = "60s"
	// The first start copies the program, an update migrates the database: it takes minutes.
	app.Healthcheck = health("900s", "curl", "-fsSk", "-o", "/dev/null", "https://127.0.0.1:443/status.php")

	db := base(image["mariadb"], mariadbLimit)
	// What Nextcloud's manual asks of MariaDB.
	db.Command = []string{"--transaction-isolation=READ-COMMITTED", "--log-bin=OFF", "--innodb-buffer-pool-size=128M"}
	db.env("TZ", s.Timezone, "MARIADB_DATABASE", database, "MARIADB_USER", database,
		"MARIADB_PASSWORD", "${DB_PASSWORD}", "MARIADB_ROOT_PASSWORD", "${DB_ROOT_PASSWORD}", "MARIADB_AUTO_UPGRADE", "1")
	db.Volumes = []string{"./database:/var/lib/mysql"}
	db.Networks = networks{"database": {}}
	db.StopGrace = "60s"
	db.Healthcheck = health("120s", "healthcheck.sh", "--connect", "--innodb_initialized")

	p := &Project{
		Name: Nextcloud, URL: fmt.Sprintf("https://%s:%d", s.Addr, c.HTTPSPort),
		Compose: compose{
			Name: "sae-nextcloud", Services: map[string]service{"nextcloud": app, "mariadb": db},
			// The database's network leads nowhere, and no port of it is opened: 3306 is the exchange's.
			Networks: map[string]network{"web": bridge("sae-nextcloud", false), "database": bridge("sae-nextcl-db", true)},
		}.encode(),
		Env:      encodeEnv(map[string]string{"DB_PASSWORD": c.DBSecret, "DB_ROOT_PASSWORD": c.DBRootSecret}),
		Services: map[string]Service{"nextcloud": {image["nextcloud"], nextcloudNeed}, "mariadb": {image["mariadb"], mariadbNeed}},
		Ports:    []string{port(c.HTTPSPort) + "/tcp"},
	}
	for _, f := range []string{"config", "config/www", "config/www/nextcloud", "config/www/nextcloud/config", "config/keys", "data"} {
		p.Folders = append(p.Folders, Folder{Path: f, Mode: 0o750, UID: UID})
	}
	p.Folders = append(p.Folders, Folder{Path: "database", Mode: 0o755}, Folder{Path: "tls", Mode: 0o755})
	p.Files = append(files,
		// The image looks for its certificate here, and gives what it finds to UID.
		File{Path: "config/keys/cert.crt", Link: "/sae-agent/tls/cert.crt", Once: true},
		File{Path: "config/keys/cert.key", Link: "/sae-agent/tls/cert.key", Once: true},
		File{Path: "config/www/nextcloud/config/autoconfig.php", Content: autoconfig(c), Mode: 0o600, UID: UID, GID: UID, Once: true},
		File{Path: "sae-agent.config.php", Content: nextcloudSettings(s, c), Mode: 0o644},
	)
	return p, nil
}

// nextcloudConfig is where the image has Nextcloud's settings.
const nextcloudConfig = "/config/www/nextcloud/config"

// autoconfig has Nextcloud install itself when its page is first asked for
// (Nextcloud's manual, "Automatic configuration"), and removed by it then. No
// command line ever has the passwords.
func autoconfig(c NextcloudConfig) []byte {
	return phpArray("AUTOCONFIG", [][2]string{
		{"dbtype", php("mysql")}, {"dbhost", php("mariadb")}, {"dbname", php(database)}, {"dbuser", php(database)}, {"dbpass", php(c.DBSecret)},
		{"dbtableprefix", php("oc_")}, {"directory", php("/data")}, {"adminlogin", php(Admin)}, {"adminpass", php(c.AdminSecret)},
	})
}

// nextcloudSettings are ours to keep; Nextcloud reads them besides its own file.
func nextcloudSettings(s Site, c NextcloudConfig) []byte {
	domains := []string{php(s.Addr.String()), php(fmt.Sprintf("%s:%d", s.Addr, c.HTTPSPort)), php("127.0.0.1"), php("localhost")}
	for _, n := range s.Names {
		domains = append(domains, php(n), php(fmt.Sprintf("%s:%d", n, c.HTTPSPort)))
	}
	return phpArray("CONFIG", [][2]string{
		{"trusted_domains", "array(" + strings.Join(domains, ", ") + ")"},
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
