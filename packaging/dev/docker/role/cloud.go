package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startCloud plays the start of Nextcloud's image, and its web server.
func startCloud([]string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGWINCH)
	go func() {
		<-stop
		os.Exit(0)
	}()
	if os.Getenv("BROKEN") != "" {
		select {}
	}
	if err := initialize(here()); err != nil {
		return err
	}
	if err := hooks(here(), "before-starting"); err != nil {
		return err
	}
	return serve(here())
}

// as runs a program as an account, with this one's environment.
func as(uid int, argv ...string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	err := cmd.Run()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return exitStatus(failed.ExitCode())
	}
	return err
}

func (l layout) run(args ...string) error {
	return as(l.uid, append([]string{"/usr/bin/php", l.html + "/occ"}, args...)...)
}

// compare compares versions by their numbers.
func compare(a, b string) int {
	numbers := func(v string) (out []int) {
		for _, s := range strings.Split(v, ".") {
			n, _ := strconv.Atoi(s) // of digits alone
			out = append(out, n)
		}
		return out
	}
	return slices.Compare(numbers(a), numbers(b))
}

// initialize installs or upgrades, under a lock that all containers with these
// files have.
func initialize(l layout) error {
	lock, err := os.OpenFile(filepath.Join(l.html, "nextcloud-init-sync.lock"), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	installed, image := l.program(), imageVersion()
	switch {
	case installed != "" && compare(installed, image) > 0:
		fmt.Printf("Can't start Nextcloud because the version of the data (%s) is higher than the docker image version (%s) and downgrading is not supported. Are you sure you have pulled the newest image version?\n", installed, image)
		return exitStatus(1)
	case installed == image:
		return nil
	case installed != "" && major(image) > major(installed)+1:
		fmt.Printf("Can't start Nextcloud because upgrading from %s to %s is not supported.\n", installed, image)
		return exitStatus(1)
	}
	fmt.Println("Initializing nextcloud", image, "...")
	if err := copyProgram(l, image); err != nil {
		return err
	}
	if installed == "" {
		err = firstInstall(l)
	} else {
		err = upgrade(l)
	}
	if err == nil {
		fmt.Println("Initializing finished")
	}
	return err
}

// upgrade ends the start when anything fails; the next start finds the new program
// in place and does not try again.
func upgrade(l layout) error {
	if err := hooks(l, "pre-upgrade"); err != nil {
		return err
	}
	if err := l.run("upgrade"); err != nil {
		return err
	}
	return hooks(l, "post-upgrade")
}

func major(v string) int {
	n, _ := strconv.Atoi(strings.Split(v, ".")[0]) // of digits alone
	return n
}

// shipped are the files of the image's config folder.
var shipped = map[string]string{
	"CAN_INSTALL": "", "apcu.config.php": "<?php\n$CONFIG = array (\n  'memcache.local' => '\\OC\\Memcache\\APCu',\n);\n",
	"apps.config.php": "<?php\n", "upgrade-disable-web.config.php": "<?php\n",
}

// copyProgram does what the image's rsync does; folders of data are filled only
// while they are empty, and version.php comes last.
func copyProgram(l layout, version string) error {
	for _, f := range []string{"occ", "cron.php", "index.php", "status.php"} {
		if err := l.write(filepath.Join(l.html, f), "<?php\n"); err != nil {
			return err
		}
	}
	for _, dir := range []string{"config", "data", "custom_apps", "themes"} {
		path := filepath.Join(l.html, dir)
		if entries, err := os.ReadDir(path); err == nil && len(entries) > 0 {
			continue
		}
		if err := errors.Join(os.MkdirAll(path, 0o755), os.Chown(path, l.uid, l.uid)); err != nil {
			return err
		}
		if dir == "config" {
			for name, text := range shipped {
				if err := l.write(filepath.Join(path, name), text); err != nil {
					return err
				}
			}
		}
	}
	return l.write(filepath.Join(l.html, "version.php"), "<?php\n$OC_VersionString = '"+version+"';\n")
}

func (l layout) write(path, text string) error {
	return errors.Join(os.WriteFile(path, []byte(text), 0o644), os.Chown(path, l.uid, l.uid))
}

// fileEnv is a variable's value, or what the file of NAME_FILE says.
func fileEnv(name string) (string, error) {
	v, file := os.Getenv(name), os.Getenv(name+"_FILE")
	if v != "" && file != "" {
		return "", fmt.Errorf("error: both %s and %s_FILE are set (but are exclusive)", name, name)
	}
	if file == "" {
		return v, nil
	}
	data, err := os.ReadFile(file)
	return strings.TrimRight(string(data), "\n"), err
}

// firstInstall is what the start does when there is no Nextcloud yet.
func firstInstall(l layout) error {
	fmt.Println("New nextcloud instance")
	values := make(map[string]string)
	for _, name := range []string{"NEXTCLOUD_ADMIN_USER", "NEXTCLOUD_ADMIN_PASSWORD", "MYSQL_DATABASE", "MYSQL_USER", "MYSQL_PASSWORD"} {
		v, err := fileEnv(name)
		if err != nil {
			return err
		}
		values[name] = v
	}
	values["MYSQL_HOST"] = os.Getenv("MYSQL_HOST")
	for _, v := range values {
		if v == "" {
			fmt.Println("Next step: Access your instance to finish the web-based installation!")
			return nil
		}
	}
	if err := hooks(l, "pre-installation"); err != nil {
		return err
	}
	fmt.Println("Starting nextcloud installation")
	data := os.Getenv("NEXTCLOUD_DATA_DIR")
	if data == "" {
		data = l.html + "/data"
	}
	var err error
	for range 10 {
		if err = l.run("maintenance:install", "-n", "--admin-user="+values["NEXTCLOUD_ADMIN_USER"], "--admin-pass="+values["NEXTCLOUD_ADMIN_PASSWORD"],
			"--data-dir="+data, "--database=mysql", "--database-name="+values["MYSQL_DATABASE"], "--database-user="+values["MYSQL_USER"],
			"--database-pass="+values["MYSQL_PASSWORD"], "--database-host="+values["MYSQL_HOST"]); err == nil {
			return hooks(l, "post-installation")
		}
		fmt.Println("Retrying install...")
		time.Sleep(2 * time.Second)
	}
	fmt.Println("Installing of nextcloud failed!")
	return exitStatus(1)
}

// hooks runs the scripts of a folder, as the account; those that may not be run are
// left out.
func hooks(l layout, when string) error {
	scripts, err := filepath.Glob("/docker-entrypoint-hooks.d/" + when + "/*.sh")
	if err != nil {
		return err
	}
	for _, s := range scripts {
		if fi, err := os.Stat(s); err != nil || fi.Mode()&0o111 == 0 {
			fmt.Printf("==> The script %q was skipped, because it lacks the executable flag\n", s)
			continue
		}
		if err := as(l.uid, "/bin/sh", "-c", s); err != nil {
			fmt.Printf("==> Failed at executing script %q. Exit code: %v\n", s, err)
			return exitStatus(1)
		}
	}
	return nil
}

// serve is Apache with Nextcloud's pages, as the account.
func serve(l layout) error {
	return http.ListenAndServe(":80", pages(l))
}

func pages(l layout) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := l.open()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		switch {
		case r.URL.Path == "/status.php" && n.Settings.Installed && !n.trusts(r.Host):
			http.Error(w, `{"installed":true}`, http.StatusBadRequest)
		case r.URL.Path == "/status.php":
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(n.status())
		case os.Getenv("PAGES") != "":
			http.Error(w, "Internal Server Error", http.StatusInternalServerError)
		case n.Settings.Maintenance:
			http.Error(w, "System in maintenance mode", http.StatusServiceUnavailable)
		case n.needsUpgrade():
			http.Error(w, "Update needed", http.StatusServiceUnavailable)
		case !n.Settings.Installed:
			http.Error(w, "not installed", http.StatusServiceUnavailable)
		case !n.trusts(r.Host):
			http.Error(w, "Access through untrusted domain", http.StatusBadRequest)
		default:
			fmt.Fprintf(w, "Nextcloud %s for %s by %s\n", n.program(), r.Header.Get("X-Real-IP"), n.extra("overwriteprotocol"))
		}
	})
}
