package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/asterisk"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// build returns a directory with the programs that the demo runs, and itself.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "./cmd/...", "./packaging/dev/lab/demo")
	cmd.Dir = filepath.Join("..", "..", "..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return dir
}

// The whole chain: one file, the built programs, a real Asterisk, phones that were just plugged in.
func TestDemo(t *testing.T) {
	programs := build(t)
	root, err := asterisk.Root()
	if err != nil {
		t.Fatal(err)
	}
	demo := func(args ...string) *exec.Cmd {
		return exec.CommandContext(t.Context(), filepath.Join(programs, "demo"), append(args, "-asterisk", root)...)
	}

	t.Run("every phone registers and calls", func(t *testing.T) {
		cmd := demo("-phones", "4", "-once")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for i := range 4 {
			if mac := fmt.Sprintf("00:15:65:00:00:%02x", i+1); !strings.Contains(string(out), mac) {
				t.Errorf("phone %s is not shown:\n%s", mac, out)
			}
		}
		for _, want := range []string{"4 registered", "call 100 -> 101: audio both ways, busy lamp followed"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("%q is missing:\n%s", want, out)
			}
		}
	})

	t.Run("a phone without its file fails the demo", func(t *testing.T) {
		broken := t.TempDir()
		for name, script := range map[string]string{
			"sae-agent": `#!/bin/sh
exec ` + programs + `/sae-agent "$@"`,
			"phonesim": `#!/bin/sh
sed -i 's/"103"/"999"/' "$4" # another extension than the file will have
exec ` + programs + `/phonesim "$@"`,
		} {
			if err := os.WriteFile(filepath.Join(broken, name), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		cmd := demo("-phones", "4", "-once", "-programs", broken)
		if out, err := cmd.CombinedOutput(); err == nil {
			t.Errorf("the demo ended with status 0:\n%s", out)
		}
	})

	t.Run("a daemon that does not start is shown", func(t *testing.T) {
		broken := t.TempDir()
		script := "#!/bin/sh\necho the reason why >&2\nexit 3\n"
		if err := os.WriteFile(filepath.Join(broken, "sae-agent"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := demo("-phones", "1", "-once", "-programs", broken)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "the reason why") {
			t.Errorf("%v:\n%s", err, out)
		}
	})

	t.Run("it stays up until interrupted", func(t *testing.T) { stayUntilInterrupted(t, demo("-phones", "2")) })
}

// checkInvitation opens the link that the demo shows, as a browser on this machine.
func checkInvitation(t *testing.T, link string) {
	t.Helper()
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true, // a person is warned of it
	}}
	resp, err := client.Get(link)
	if err != nil {
		t.Errorf("the invitation %q: %v", link, err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "demo") {
		t.Errorf("the invitation %s: %v %s\n%s", link, err, resp.Status, body)
	}
}

// checkStory runs the command that the demo shows: one phone's story, in order.
func checkStory(t *testing.T, command []string) {
	t.Helper()
	if len(command) == 0 {
		t.Fatal("the demo shows no command for a phone's story")
	}
	labtest.Eventually(t, func() error { // the exchange tells of calls a little later
		out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%q: %w\n%s", command, err, out)
		}
		return inOrder(string(out))
	})
}

// inOrder finds a phone's boot and its call in what is told of it.
func inOrder(story string) error {
	var at []int
	for _, event := range []string{"phone looks for an address", "lease ", "phone fetched its file", " registered ", "call began", "call answered", "call ended"} {
		at = append(at, strings.Index(story, event))
	}
	if slices.Contains(at, -1) || !slices.IsSorted(at) {
		return fmt.Errorf("no story in order (%v):\n%s", at, story)
	}
	return nil
}

func stayUntilInterrupted(t *testing.T, cmd *exec.Cmd) {
	temp := t.TempDir()
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	url, invitation, story, output := "", "", []string(nil), new(strings.Builder)
	last := regexp.MustCompile(`Ctrl-C`)
	metrics := regexp.MustCompile(`http://\S+/metrics`)
	for lines := bufio.NewScanner(io.TeeReader(stdout, output)); lines.Scan(); {
		if m := metrics.FindString(lines.Text()); m != "" {
			url = m
		}
		if m := regexp.MustCompile(`https://127\.0\.0\.1:\d+/invite/\S+`).FindString(lines.Text()); m != "" {
			invitation = m
		}
		if command, ok := strings.CutPrefix(lines.Text(), "A phone's story "); ok {
			story = strings.Fields(command)
		}
		if last.MatchString(lines.Text()) {
			break
		}
	}
	client := http.Client{Timeout: time.Minute}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "sae_") {
		t.Errorf("metrics: %v %s\n%s", err, resp.Status, body)
	}
	checkInvitation(t, invitation)
	checkStory(t, story)
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(stdout)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("interrupted: %v\n%s%s", err, output, rest)
	}
	left, err := filepath.Glob(filepath.Join(temp, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
