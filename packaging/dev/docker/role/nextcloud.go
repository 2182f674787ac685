package main

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// nextcloud is a Nextcloud as it stands in the container's files and database.
type nextcloud struct {
	layout
	Settings settings
}

// layout is where the image has Nextcloud, and the account that runs it.
type layout struct {
	html, config string
	uid          int
}

func here() layout { return layout{html: "/var/www/html", config: "/var/www/html/config", uid: 33} }

// settings are what config.php holds.
type settings struct {
	Installed   bool   `json:"installed"`
	Version     string `json:"version"` // of the database
	Maintenance bool   `json:"maintenance"`
	Data        string `json:"datadirectory"`
	DBHost      string `json:"dbhost"`
	DBName      string `json:"dbname"`
	DBUser      string `json:"dbuser"`
	DBPassword  string `json:"dbpassword"`
}

func (l layout) open() (*nextcloud, error) {
	n := &nextcloud{layout: l}
	data, err := os.ReadFile(filepath.Join(l.config, "config.php"))
	if errors.Is(err, os.ErrNotExist) {
		return n, nil
	}
	if err == nil {
		_, text, _ := strings.Cut(string(data), "// ")
		err = json.Unmarshal([]byte(text), &n.Settings)
	}
	if err != nil {
		return nil, fmt.Errorf("config.php: %w", err)
	}
	return n, nil
}

// save writes config.php, as the account that owns it.
func (n *nextcloud) save() error {
	data, err := json.Marshal(n.Settings)
	if err != nil {
		return err
	}
	path := filepath.Join(n.config, "config.php")
	if err := os.WriteFile(path, []byte("<?php\n// "+string(data)+"\n"), 0o640); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		return os.Chown(path, n.uid, n.uid)
	}
	return nil
}

// program is the version of the program, as version.php has it.
func (l layout) program() string {
	data, err := os.ReadFile(filepath.Join(l.html, "version.php"))
	if err != nil {
		return ""
	}
	m := regexp.MustCompile(`'([\d.]+)'`).FindSubmatch(data)
	if m == nil {
		return ""
	}
	return string(m[1])
}

// imageVersion is the version of the program that came with the image.
func imageVersion() string { return os.Getenv("VERSION") + ".1" }

func (n *nextcloud) needsUpgrade() bool {
	return n.Settings.Installed && n.Settings.Version != n.program()
}

// extra is what the files *.config.php besides config.php say of a key; empty:
// nothing.
func (n *nextcloud) extra(key string) (value string) {
	files, err := filepath.Glob(filepath.Join(n.config, "*.config.php"))
	if err != nil {
		return ""
	}
	setting := regexp.MustCompile(`'` + regexp.QuoteMeta(key) + `' => (.*),`)
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil {
			if m := setting.FindSubmatch(data); m != nil {
				value = string(m[1])
			}
		}
	}
	return value
}

// trusts reports whether pages are served under a name.
func (n *nextcloud) trusts(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	for _, quoted := range regexp.MustCompile(`'([^']*)'`).FindAllStringSubmatch(n.extra("trusted_domains"), -1) {
		if quoted[1] == name || quoted[1] == host {
			return true
		}
	}
	return name == "localhost"
}

// do runs SQL in Nextcloud's database.
func (n *nextcloud) do(f func(*sql.DB) error) error {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.DBName, c.Net = n.Settings.DBUser, n.Settings.DBPassword, n.Settings.DBName, "tcp"
	if c.Addr = n.Settings.DBHost; !strings.Contains(c.Addr, ":") {
		c.Addr += ":3306"
	}
	c.Timeout, c.MultiStatements, c.InterpolateParams = 5*time.Second, true, true
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	return f(db)
}

func (n *nextcloud) exec(query string, args ...any) error {
	return n.do(func(db *sql.DB) error { _, err := db.Exec(query, args...); return err })
}

// strings reads the first column of a query.
func (n *nextcloud) strings(query string, args ...any) (out []string, err error) {
	err = n.do(func(db *sql.DB) error {
		rows, err := db.Query(query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var s string
			if err := rows.Scan(&s); err != nil {
				return err
			}
			out = append(out, s)
		}
		return rows.Err()
	})
	return out, err
}

const tables = `CREATE TABLE oc_appconfig (appid VARCHAR(64), configkey VARCHAR(64), configvalue TEXT, PRIMARY KEY (appid, configkey));
CREATE TABLE oc_users (uid VARCHAR(64) PRIMARY KEY, displayname VARCHAR(64));
CREATE TABLE oc_migrations (version VARCHAR(64) PRIMARY KEY)`

// install is 'occ maintenance:install'.
func (n *nextcloud) install(s settings, admin string) error {
	if _, err := os.Stat(filepath.Join(n.config, "CAN_INSTALL")); err != nil {
		fmt.Println("Configuration was not read or initialized correctly, not overwriting " + n.html + "/config/config.php")
		return exitStatus(1)
	}
	_ = os.MkdirAll(s.Data, 0o770) // the next line tells
	if err := os.WriteFile(filepath.Join(s.Data, ".ncdata"), nil, 0o644); err != nil {
		fmt.Println("Cannot create or write into the data directory", s.Data)
		return exitStatus(1)
	}
	n.Settings = s
	n.Settings.Version = n.program()
	if err := n.exec(tables); err != nil {
		return err
	}
	if err := n.exec("INSERT INTO oc_users VALUES (?, ?); INSERT INTO oc_appconfig VALUES ('files', 'enabled', 'yes'), ('core', 'backgroundjobs_mode', 'ajax')", admin, admin); err != nil {
		return err
	}
	n.Settings.Installed = true
	if err := n.save(); err != nil {
		return err
	}
	return os.Remove(filepath.Join(n.config, "CAN_INSTALL"))
}

// upgrade is 'occ upgrade'.
func (n *nextcloud) upgrade() error {
	if !n.needsUpgrade() {
		fmt.Println("Nextcloud is already latest version")
		return exitStatus(3)
	}
	held := n.Settings.Maintenance
	n.Settings.Maintenance = true
	if err := n.save(); err != nil {
		return err
	}
	fmt.Println("Turned on maintenance mode\nUpdating database schema")
	time.Sleep(knob("MIGRATION_SECONDS"))
	switch os.Getenv("MIGRATION") {
	case "throws":
		// Half of the work is done, and harms what is there.
		_ = n.exec("ALTER TABLE oc_users ADD COLUMN half INT; DELETE FROM oc_users")
		_ = os.Remove(filepath.Join(n.Settings.Data, "precious"))
		fmt.Printf(`Exception: Database error when running migration %s for app core
An exception occurred while executing a query: SQLSTATE[42S21]: Column already exists: 1060 Duplicate column name 'half'
#0 %s/lib/private/DB/MigrationService.php(466): OC\DB\MigrationService->executeStep()
#1 %s/lib/private/Updater.php(237): OC\Updater->doCoreUpgrade()
Update failed
Maintenance mode is kept active
Resetting log level
`, n.program(), n.html, n.html)
		return exitStatus(5)
	case "hangs":
		_ = os.Remove(filepath.Join(n.Settings.Data, "precious"))
		select {}
	}
	if err := n.exec("INSERT INTO oc_migrations VALUES (?)", n.program()); err != nil {
		return err
	}
	n.Settings.Version, n.Settings.Maintenance = n.program(), held // what was on before stays on
	fmt.Println("Update successful")
	return n.save()
}
