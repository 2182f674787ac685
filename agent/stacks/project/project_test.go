package project

import (
	"bufio"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/sae-agent/sae-agent/internal/golden"
)

// nasty has all that Compose, its .env or PHP could read as something else.
const nasty = `a$b${C}'d"e\f#g h`

func site() Site {
	return Site{
		Addr: netip.MustParseAddr("192.168.1.1"), Names: []string{"sae303.example"}, Timezone: "Europe/Paris",
		Certificate: []byte("certificate\n"), Key: []byte("key\n"),
	}
}

func render(t *testing.T, stack string) *Project {
	t.Helper()
	p, err := Render(stack, site(), JitsiConfig{
		HTTPSPort: 8443, MediaPort: 10000, GatewayFirst: 20000, GatewayLast: 20050, SIPServer: "192.168.1.1", SIPPort: 5060, SIPTransport: "udp",
		Gateway:   Gateway{Extension: "1000", AccessNumber: "8000", Room: "sae303", Header: RoomHeader},
		SIPSecret: nasty, JicofoSecret: "jicofo-secret", JVBSecret: "jvb-secret", JigasiSecret: "jigasi-secret",
	}, NextcloudConfig{HTTPSPort: 7443, AdminSecret: nasty, DBSecret: "db-secret", DBRootSecret: "root-secret"}, Pinned())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestProjects(t *testing.T) {
	for _, stack := range []string{Jitsi, Nextcloud} {
		t.Run(stack, func(t *testing.T) {
			p := render(t, stack)
			golden.Equal(t, "testdata/"+stack+".compose.yaml", p.Compose)
			golden.Equal(t, "testdata/"+stack+".env", p.Env)
			for _, f := range p.Files {
				if len(f.Content) > 0 && !strings.Contains(f.Path, "cert.") {
					golden.Equal(t, "testdata/"+stack+"."+filepath.Base(f.Path), f.Content)
				}
			}
			for _, secret := range []string{"-secret", "d\"e"} {
				if strings.Contains(string(p.Compose), secret) {
					t.Errorf("compose.yaml holds a secret with %q in it", secret)
				}
			}
			again := render(t, stack)
			if d := cmp.Diff(string(p.Compose), string(again.Compose)); d != "" {
				t.Errorf("the same configuration is written differently:\n%s", d)
			}
			if p.Memory() < 512*mib || p.Memory() > 2048*mib {
				t.Errorf("needs %d MiB of memory", p.Memory()/mib)
			}
		})
	}
	if _, err := Render("wordpress", site(), JitsiConfig{}, NextcloudConfig{}, Pinned()); err == nil {
		t.Error("a stack that does not exist was rendered")
	}
	if _, err := Render(Jitsi, site(), JitsiConfig{}, NextcloudConfig{}, Images{}); err == nil {
		t.Error("a stack without images was rendered")
	}
}

func TestCertificateChangeStartsAnew(t *testing.T) {
	before := render(t, Jitsi)
	s := site()
	s.Certificate = []byte("renewed\n")
	after, err := Render(Jitsi, s, JitsiConfig{}, NextcloudConfig{}, Pinned())
	if err != nil {
		t.Fatal(err)
	}
	label := regexp.MustCompile(`sae-agent.certificate: "?([0-9a-f]+)`)
	a, b := label.FindSubmatch(before.Compose), label.FindSubmatch(after.Compose)
	if a == nil || b == nil || string(a[1]) == string(b[1]) {
		t.Errorf("labels %q and %q must differ", a, b)
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
// that it does not have.
func TestJitsiIsAsThePinnedReleaseHasIt(t *testing.T) {
	known := upstream(t)
	if len(known) != 5 || len(known["web"][""]) < 100 {
		t.Fatalf("read %d services", len(known))
	}
	var c compose
	if err := yaml.Unmarshal(render(t, Jitsi).Compose, &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Services) != len(known) {
		t.Errorf("%d services, upstream has %d", len(c.Services), len(known))
	}
	for name, s := range c.Services {
		for v := range s.Environment {
			if !slices.Contains(known[name][""], v) {
				t.Errorf("%s: the image does not read %s", name, v)
			}
		}
		inside := func(spec string) string { return strings.Split(strings.TrimPrefix(spec, "./"), ":")[1] }
		for _, v := range s.Volumes {
			if !slices.ContainsFunc(known[name]["volumes"], func(k string) bool { return inside(strings.ReplaceAll(k, "${CONFIG}", ".")) == inside(v) }) {
				t.Errorf("%s: the image has no volume %s", name, v)
			}
		}
		if d := cmp.Diff(known[name]["tmpfs"], s.Tmpfs); d != "" {
			t.Errorf("%s: tmpfs differ:\n%s", name, d)
		}
		if !strings.HasSuffix(known[name]["image"][0], Pinned()[Jitsi][name].Tag+"}") {
			t.Errorf("%s: pinned %s, upstream %s", name, Pinned()[Jitsi][name].Tag, known[name]["image"][0])
		}
	}
	ports := strings.Join(known["web"]["ports"], " ") + strings.Join(known["jvb"]["ports"], " ")
	for _, want := range []string{":8443", "${JVB_PORT:-10000}/udp"} {
		if !strings.Contains(ports, want) {
			t.Errorf("upstream has no port %s: %s", want, ports)
		}
	}
}

func TestEverythingIsPinned(t *testing.T) {
	var list []map[string]any
	if err := json.Unmarshal(pinned, &list); err != nil || len(list) != 7 {
		t.Fatalf("%d images, %v", len(list), err)
	}
	for stack, services := range Pinned() {
		for name, i := range services {
			if i.Tag == "" || i.Tag == "latest" || i.SizeMB <= 0 || !strings.Contains(i.Repository, ".") {
				t.Errorf("%s/%s: %+v", stack, name, i)
			}
		}
	}
	i := Image{Repository: "docker.io/library/mariadb", Tag: "1", Digest: "sha256:ab"}
	if got, want := i.At("127.0.0.1:5000").Ref(), "127.0.0.1:5000/library/mariadb:1@sha256:ab"; got != want {
		t.Errorf("At() = %s, want %s", got, want)
	}
	if got := i.At("").Ref(); got != "docker.io/library/mariadb:1@sha256:ab" {
		t.Errorf("At(\"\") = %s", got)
	}
}
