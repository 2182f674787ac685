package jitsi

import (
	"bufio"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/sae-agent/sae-agent/agent/stacks/kind"
	"github.com/sae-agent/sae-agent/agent/stacks/kind/kindtest"
)

func config() Config {
	return Config{
		HTTPSPort: 8443, MediaPort: 10000, GatewayFirst: 20000, GatewayLast: 20050, SIPServer: "192.168.1.1", SIPPort: 5060, SIPTransport: "udp",
		Gateway:   Gateway{Extension: "1000", AccessNumber: "8000", Room: "sae303", Header: RoomHeader},
		SIPSecret: kindtest.Nasty, JicofoSecret: "jicofo-secret", JVBSecret: "jvb-secret", JigasiSecret: "jigasi-secret",
	}
}

func TestProject(t *testing.T) {
	kindtest.Check(t, config(), "-secret", `d"e`)
	// What config prints is a project again, with each $ doubled.
	read := kindtest.Compose(t, kindtest.Render(t, config(), kindtest.Site())).Services["jigasi"].Environment["JIGASI_SIP_PASSWORD"]
	if d := cmp.Diff(kindtest.Nasty, strings.ReplaceAll(read, "$$", "$")); d != "" {
		t.Errorf("the gateway's password (-want +got):\n%s", d)
	}
}

func TestCertificateChangeMakesThePageAnew(t *testing.T) {
	s := kindtest.Site()
	before := kindtest.Render(t, config(), s)
	s.Certificate = []byte("renewed\n")
	after := kindtest.Render(t, config(), s)
	label := regexp.MustCompile(`sae-agent.files: "?([0-9a-f]+)`)
	a, b := label.FindSubmatch(before.Compose), label.FindSubmatch(after.Compose)
	if a == nil || b == nil || string(a[1]) == string(b[1]) {
		t.Errorf("labels %q and %q must differ", a, b)
	}
	for _, f := range after.Files {
		if strings.HasSuffix(f.Path, ".key") && (f.Mode != 0o640 || f.GID != kind.UID) {
			t.Errorf("the key is %+v: its copy could not be overwritten", f)
		}
	}
}

// upstream is what the pinned release of docker-jitsi-meet declares, by service
// and kind; variables are of kind "".
func upstream(t *testing.T) map[string]map[string][]string {
	t.Helper()
	f, err := os.Open("testdata/jitsi-stable-11146-2.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := make(map[string]map[string][]string)
	for sc := bufio.NewScanner(f); sc.Scan(); {
		service, what, ok := strings.Cut(sc.Text(), "\t")
		if !ok {
			continue
		}
		kind, value := "", what
		if strings.HasPrefix(what, "[") {
			kind, value, _ = strings.Cut(strings.TrimPrefix(what, "["), "] ")
		}
		if out[service] == nil {
			out[service] = make(map[string][]string)
		}
		out[service][kind] = append(out[service][kind], value)
	}
	return out
}

// Variables that an image does not read are mistakes; so are volumes and ports
// that it does not have, and volumes of its own that are left to Docker.
func TestProjectIsAsThePinnedReleaseHasIt(t *testing.T) {
	known := upstream(t)
	if len(known) != 5 || len(known["web"][""]) < 100 {
		t.Fatalf("read %d services", len(known))
	}
	var c kind.Compose
	if err := yaml.Unmarshal(kindtest.Render(t, config(), kindtest.Site()).Compose, &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Services) != len(known) {
		t.Errorf("%d services, upstream has %d", len(c.Services), len(known))
	}
	images := config().Images()
	for name, s := range c.Services {
		for v := range s.Environment {
			if !slices.Contains(known[name][""], v) {
				t.Errorf("%s: the image does not read %s", name, v)
			}
		}
		inside := func(spec string) string { return strings.Split(strings.TrimPrefix(spec, "./"), ":")[1] }
		var targets []string
		for _, v := range s.Volumes {
			targets = append(targets, inside(v))
			if inside(v) != "/tmp/transcripts" && !slices.ContainsFunc(known[name]["volumes"], func(k string) bool { return inside(strings.ReplaceAll(k, "${CONFIG}", ".")) == inside(v) }) {
				t.Errorf("%s: the image has no volume %s", name, v)
			}
		}
		for _, v := range declared(name) {
			if !slices.Contains(targets, v) {
				t.Errorf("%s: its volume %s is left to Docker, which leaves an anonymous one at each 'down'", name, v)
			}
		}
		var sizes []string
		for _, m := range s.Tmpfs {
			sizes = append(sizes, strings.TrimSuffix(m, ",uid=1000,gid=1000"))
		}
		if d := cmp.Diff(known[name]["tmpfs"], sizes); d != "" {
			t.Errorf("%s: tmpfs differ:\n%s", name, d)
		}
		if !strings.HasSuffix(known[name]["image"][0], images[name].Tag+"}") {
			t.Errorf("%s: pinned %s, upstream %s", name, images[name].Tag, known[name]["image"][0])
		}
	}
	ports := strings.Join(known["web"]["ports"], " ") + strings.Join(known["jvb"]["ports"], " ")
	for _, want := range []string{":8443", "${JVB_PORT:-10000}/udp"} {
		if !strings.Contains(ports, want) {
			t.Errorf("upstream has no port %s: %s", want, ports)
		}
	}
}

// declared are the volumes that an image's Dockerfile declares.
func declared(service string) []string {
	return map[string][]string{
		"web": {"/config", "/usr/share/jitsi-meet/transcripts"}, "prosody": {"/config", "/prosody-plugins-custom"},
		"jicofo": {"/config"}, "jvb": {"/config"}, "jigasi": {"/config", "/tmp/transcripts"},
	}[service]
}

func TestReady(t *testing.T) {
	good := kindtest.Inside{Pages: map[string]kindtest.Page{"/": {Status: http.StatusOK}, "/http-bind": {Status: http.StatusOK}}}
	if _, err := config().Ready(t.Context(), good); err != nil {
		t.Errorf("Ready() = %v", err)
	}
	good.Pages["/http-bind"] = kindtest.Page{Status: http.StatusBadGateway}
	if _, err := config().Ready(t.Context(), good); err == nil || !strings.Contains(err.Error(), "502") {
		t.Errorf("Ready() without signalling = %v", err)
	}
}
