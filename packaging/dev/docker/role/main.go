// Command role plays the programs of the images of Nextcloud and Jitsi for the
// tests, where no registry of images can be reached. It is one program under many
// names, as busybox is, and does what the real images were seen to do: it fails as
// they fail.
//
// The images tell it by their environment what it plays: VERSION is Nextcloud's,
// SERVICE is Jitsi's, and the rest says what shall go wrong.
package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	programs := map[string]func(args []string) error{
		"entrypoint.sh": startCloud, "cron.sh": runCron, "php": runPHP, "init": startMeeting, "curl": curl,
	}
	run := programs[filepath.Base(os.Args[0])]
	if run == nil {
		run = func([]string) error { return fmt.Errorf("%s is no program that is played here", os.Args[0]) }
	}
	err := run(os.Args[1:])
	var status exitStatus
	switch {
	case errors.As(err, &status):
		os.Exit(int(status))
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// exitStatus is an error that has been told already.
type exitStatus int

func (s exitStatus) Error() string { return "exit status " + strconv.Itoa(int(s)) }

// knob is a whole number of the environment, in seconds.
func knob(name string) time.Duration {
	n, _ := strconv.Atoi(os.Getenv(name)) // absent is 0
	return time.Duration(n) * time.Second
}

// curl knows what the health checks ask of it: -f, -k and -o /dev/null.
func curl(args []string) error {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	resp, err := client.Get(args[len(args)-1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "curl: (7)", err)
		return exitStatus(7)
	}
	defer resp.Body.Close()
	fails := slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "-f") })
	if fails && resp.StatusCode >= 400 {
		fmt.Fprintln(os.Stderr, "curl: (22) The requested URL returned error:", resp.StatusCode)
		return exitStatus(22)
	}
	if !slices.Contains(args, "/dev/null") {
		_, err = io.Copy(os.Stdout, resp.Body)
	}
	return err
}
