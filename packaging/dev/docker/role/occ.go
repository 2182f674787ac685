package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// runPHP plays 'php …/occ COMMAND' and 'php -f …/cron.php'.
func runPHP(args []string) error {
	l := here()
	if len(args) == 2 && args[0] == "-f" && args[1] == l.html+"/cron.php" {
		return cronPHP()
	}
	if len(args) < 2 || args[0] != l.html+"/occ" {
		fmt.Println("Could not open input file:", strings.Join(args, " "))
		return exitStatus(1)
	}
	if os.Getuid() != l.uid {
		fmt.Println("Console has to be executed with the user that owns the file config/config.php")
		return exitStatus(1)
	}
	n, err := l.open()
	if err != nil {
		return err
	}
	return n.occ(args[1], args[2:])
}

// arguments are those that are no options.
func arguments(args []string) (out []string) {
	for i, a := range args {
		if a == "--" {
			return append(out, args[i+1:]...)
		}
		if strings.HasPrefix(a, "-") {
			continue
		}
		out = append(out, a)
	}
	return out
}

func option(args []string, name string) string {
	for i, a := range args {
		if v, ok := strings.CutPrefix(a, "--"+name+"="); ok {
			return v
		}
		if a == "--"+name && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}

func (n *nextcloud) occ(command string, args []string) error {
	switch command {
	case "status":
		return json.NewEncoder(os.Stdout).Encode(n.status())
	case "maintenance:install":
		return n.install(settings{
			Data: option(args, "data-dir"), DBHost: option(args, "database-host"), DBName: option(args, "database-name"),
			DBUser: option(args, "database-user"), DBPassword: option(args, "database-pass"),
		}, option(args, "admin-user"))
	case "maintenance:mode":
		n.Settings.Maintenance = slices.Contains(args, "--on")
		return n.save()
	case "upgrade":
		return n.upgrade()
	case "config:system:get":
		v := strings.Trim(n.extra(args[0]), "'")
		if v == "" {
			return exitStatus(1)
		}
		fmt.Println(v)
		return nil
	}
	switch {
	case !n.Settings.Installed:
		fmt.Println("Nextcloud is not installed - only a limited number of commands are available")
	case n.needsUpgrade():
		fmt.Println("Nextcloud or one of the apps require upgrade - only a limited number of commands are available")
	case n.Settings.Maintenance:
		fmt.Println("Nextcloud is in maintenance mode, no apps are loaded.")
	default:
		return n.command(command, args)
	}
	fmt.Printf("\n  Command %q is not defined.\n\n", command)
	return exitStatus(1)
}

// command runs one of those that need a Nextcloud at work.
func (n *nextcloud) command(command string, args []string) error {
	words := arguments(args)
	switch command {
	case "background:cron":
		return n.exec("REPLACE INTO oc_appconfig VALUES ('core', 'backgroundjobs_mode', 'cron')")
	case "config:app:get":
		v, err := n.strings("SELECT configvalue FROM oc_appconfig WHERE appid = ? AND configkey = ?", words[0], words[1])
		if err == nil && len(v) == 0 {
			return exitStatus(1)
		}
		fmt.Println(strings.Join(v, ""))
		return err
	case "app:list":
		return n.listApps()
	case "app:install", "app:enable":
		return n.addApp(command, words[0])
	case "user:list":
		names, err := n.strings("SELECT uid FROM oc_users ORDER BY uid")
		if len(names) == 0 {
			fmt.Println("[]") // PHP's empty list
			return err
		}
		list := make(map[string]string)
		for _, u := range names {
			list[u] = u
		}
		return errors.Join(err, json.NewEncoder(os.Stdout).Encode(list))
	case "user:add":
		time.Sleep(knob("SLOW")) // it asks for things that cannot be reached
		if len(os.Getenv("OC_PASS")) < 10 {
			fmt.Println("Password needs to be at least 10 characters long.")
			return exitStatus(1)
		}
		return n.exec("INSERT INTO oc_users (uid, displayname) VALUES (?, ?)", words[0], option(args, "display-name"))
	case "user:delete":
		return n.exec("DELETE FROM oc_users WHERE uid = ?", words[0])
	}
	fmt.Printf("\n  Command %q is not defined.\n\n", command)
	return exitStatus(1)
}

func (n *nextcloud) listApps() error {
	apps, err := n.strings("SELECT appid FROM oc_appconfig WHERE configkey = 'enabled' AND configvalue = 'yes'")
	if err != nil {
		return err
	}
	enabled := make(map[string]string)
	for _, a := range apps {
		enabled[a] = "1.0.0"
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"enabled": enabled, "disabled": map[string]string{}})
}

// addApp asks the app store, which is at hand only if STORE says so.
func (n *nextcloud) addApp(command, app string) error {
	if os.Getenv("STORE") == "" && command == "app:install" {
		time.Sleep(knob("SLOW"))
		fmt.Printf("Error: Could not download app %s, it was not found on the appstore\n", app)
		return exitStatus(1)
	}
	return n.exec("REPLACE INTO oc_appconfig VALUES (?, 'enabled', 'yes')", app)
}

// status is what status.php says, and 'occ status'.
func (n *nextcloud) status() map[string]any {
	version := n.program()
	return map[string]any{
		"installed": n.Settings.Installed, "maintenance": n.Settings.Maintenance, "needsDbUpgrade": n.needsUpgrade(),
		"version": version, "versionstring": strings.TrimSuffix(version, ".1"), "edition": "", "productname": "Nextcloud", "extendedSupport": false,
	}
}

// cronPHP runs the background jobs once.
func cronPHP() error {
	n, err := here().open()
	if err != nil || !n.Settings.Installed || n.Settings.Maintenance || n.needsUpgrade() {
		return err
	}
	return n.exec("REPLACE INTO oc_appconfig VALUES ('core', 'lastcron', ?)", fmt.Sprint(time.Now().Unix()))
}

// runCron plays /cron.sh: busybox's crond with one line, which runs cron.php as the
// account every 5 minutes, or every CRON seconds.
func runCron([]string) error {
	if os.Getuid() != 0 {
		return errors.New("crond: must be root")
	}
	every := knob("CRON")
	if every == 0 {
		every = 5 * time.Minute
	}
	for {
		time.Sleep(every)
		if _, err := os.Stat(filepath.Join(here().html, "cron.php")); err != nil {
			fmt.Println("Could not open input file:", filepath.Join(here().html, "cron.php"))
			continue
		}
		if err := as(here().uid, "/usr/bin/php", "-f", here().html+"/cron.php"); err != nil {
			fmt.Println(err)
		}
	}
}
