// Package jitsi is Jitsi Meet with its SIP gateway as a kind of stack.
package jitsi

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/sae-agent/sae-agent/agent/stacks/kind"
)

// Name is the stack's name.
const Name = "jitsi"

// RoomHeader is the SIP header in which the exchange tells the gateway which
// meeting a call is for. The gateway's image has it fixed.
const RoomHeader = "X-Room-Name"

//go:embed images.json
var pinned []byte

// Gateway is what the exchange and the SIP gateway must agree on.
//
// The exchange sends calls for AccessNumber to Extension with Header saying Room,
// and calls for AccessNumber followed by digits with these digits as the room. The
// meeting's page puts a + before the number that somebody invites, so the exchange
// takes a leading + away from what Extension dials.
type Gateway struct {
	Extension    string // the gateway's own account
	AccessNumber string // dialled by phones to get into a meeting
	Room         string // the meeting of those who dial nothing after it
	Header       string // RoomHeader
}

// Config is what Jitsi must be told. It is a kind.Kind.
type Config struct {
	HTTPSPort, MediaPort      uint16
	GatewayFirst, GatewayLast uint16 // UDP ports of the gateway's voice
	Gateway                   Gateway
	SIPServer                 string // address of the exchange
	SIPPort                   uint16
	SIPTransport              string // udp, tcp or tls
	// Passwords: of the gateway's account, and between the services.
	SIPSecret, JicofoSecret, JVBSecret, JigasiSecret string
}

// memory is what a service needs to work, and what it may take, in bytes, and
// Java's share of it in MiB: it needs memory besides its heap.
type memory struct{ need, limit, heap int64 }

func services() map[string]memory {
	return map[string]memory{
		"web":     {48 * kind.MiB, 256 * kind.MiB, 0},
		"prosody": {96 * kind.MiB, 384 * kind.MiB, 0},
		"jicofo":  {256 * kind.MiB, 768 * kind.MiB, 384},
		"jvb":     {384 * kind.MiB, 1536 * kind.MiB, 768},
		"jigasi":  {384 * kind.MiB, 1024 * kind.MiB, 0},
	}
}

// tmpfs is what the images, whose root is read-only, write to. Their start is setuid
// root so as to give /run to the account; where nothing gains privileges it must be
// the account's from the beginning.
func tmpfs(tmp string) []string {
	return []string{fmt.Sprintf("/run:size=16M,mode=1750,exec,uid=%d,gid=%d", kind.UID, kind.UID), "/tmp:size=" + tmp + ",mode=1777,noexec"}
}

// Name implements kind.Kind.
func (Config) Name() string { return Name }

// Images implements kind.Kind.
func (Config) Images() map[string]kind.Image {
	images, _ := kind.ParseImages(pinned) // embedded, and tested
	return images
}

// Render implements kind.Kind.
func (c Config) Render(s kind.Site, images map[string]kind.Image) (*kind.Project, error) {
	p := &kind.Project{
		URL: fmt.Sprintf("https://%s:%d", s.Addr, c.HTTPSPort), Files: kind.Pages(s, "web/keys"), Services: make(map[string]kind.Service),
		Env: kind.EncodeEnv(map[string]string{
			"JIGASI_SIP_PASSWORD": c.SIPSecret, "JICOFO_AUTH_PASSWORD": c.JicofoSecret, "JVB_AUTH_PASSWORD": c.JVBSecret, "JIGASI_XMPP_PASSWORD": c.JigasiSecret,
		}),
		Ports: []string{kind.Port(c.HTTPSPort) + "/tcp", kind.Port(c.MediaPort) + "/udp", kind.Port(c.GatewayFirst) + "-" + kind.Port(c.GatewayLast) + "/udp"},
	}
	all := kind.Compose{Name: "sae-" + Name, Services: make(map[string]kind.ComposeService), Networks: map[string]kind.Network{"meet": kind.Bridge("sae-jitsi", false)}}
	complete := map[string]func(*kind.ComposeService, kind.Site, *kind.Project){
		"web": c.web, "prosody": c.prosody, "jicofo": c.jicofo, "jvb": c.jvb, "jigasi": c.jigasi,
	}
	for name, m := range services() {
		if err := kind.Need(images, name); err != nil {
			return nil, err
		}
		v := kind.Base(images[name], s, m.limit)
		v.ReadOnly, v.Tmpfs, v.Networks = true, tmpfs("16M"), kind.Attachments{"meet": {}}
		complete[name](&v, s, p)
		all.Services[name] = v
		p.Services[name] = kind.Service{Image: images[name], Memory: m.need}
	}
	// The images read below their own folders and write below storage, as UID.
	for _, f := range []string{"web", "web/keys", "prosody", "prosody/config", "prosody/prosody-plugins-custom", "jicofo", "jvb", "jigasi", "storage"} {
		p.Folders = append(p.Folders, kind.Folder{Path: f, Mode: 0o755})
	}
	for _, f := range []string{"storage/web", "storage/prosody", "storage/transcripts"} {
		p.Folders = append(p.Folders, kind.Folder{Path: f, Mode: 0o750, UID: kind.UID})
	}
	var err error
	p.Compose, err = all.Encode()
	return p, err
}

func (c Config) web(v *kind.ComposeService, s kind.Site, p *kind.Project) {
	v.Ports = []string{kind.Publish(s.Addr, kind.Port(c.HTTPSPort), "8443", "tcp")}
	v.Volumes = []string{"./web:/config:ro", "./storage/web:/storage", "./storage/transcripts:/usr/share/jitsi-meet/transcripts:ro"}
	v.Follow(p.Files...)
	v.Env("PUBLIC_URL", p.URL, "ENABLE_LETSENCRYPT", "0", "ENABLE_HTTP_REDIRECT", "0", "ENABLE_AUTH", "0", "ENABLE_GUESTS", "1")
	v.DependsOn = map[string]kind.Depend{"prosody": {Condition: kind.WhenHealthy}, "jvb": {Condition: kind.WhenStarted}}
	v.Healthcheck = s.Health("60s", "curl", "-fsSk", "-o", "/dev/null", "https://127.0.0.1:8443/")
}

func (c Config) prosody(v *kind.ComposeService, s kind.Site, p *kind.Project) {
	v.Volumes = []string{"./prosody/config:/config:ro", "./prosody/prosody-plugins-custom:/prosody-plugins-custom:ro", "./storage/prosody:/var/lib/prosody"}
	v.Networks = kind.Attachments{"meet": {Aliases: []string{"xmpp.meet.jitsi"}}}
	v.Env("PUBLIC_URL", p.URL, "ENABLE_AUTH", "0", "ENABLE_GUESTS", "1",
		"JICOFO_AUTH_PASSWORD", "${JICOFO_AUTH_PASSWORD}", "JVB_AUTH_PASSWORD", "${JVB_AUTH_PASSWORD}",
		"JIGASI_XMPP_USER", "jigasi", "JIGASI_XMPP_PASSWORD", "${JIGASI_XMPP_PASSWORD}")
	v.Healthcheck = s.Health("60s", "curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:5280/health")
}

func (c Config) jicofo(v *kind.ComposeService, s kind.Site, _ *kind.Project) {
	v.Volumes = []string{"./jicofo:/config:ro"}
	v.Env("ENABLE_AUTH", "0", "JICOFO_AUTH_PASSWORD", "${JICOFO_AUTH_PASSWORD}", "JICOFO_ENABLE_REST", "true",
		"JICOFO_ENABLE_HEALTH_CHECKS", "true", "JIGASI_BREWERY_MUC", "jigasibrewery", "JIGASI_SIP_URI", c.sipURI(),
		"JICOFO_MAX_MEMORY", heap("jicofo"))
	v.DependsOn = map[string]kind.Depend{"prosody": {Condition: kind.WhenHealthy}}
	v.Healthcheck = s.Health("120s", "curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:8888/about/health")
}

func (c Config) jvb(v *kind.ComposeService, s kind.Site, _ *kind.Project) {
	media := kind.Port(c.MediaPort)
	v.Ports = []string{kind.Publish(s.Addr, media, media, "udp")}
	v.Volumes = []string{"./jvb:/config:ro"}
	// Without the address a meeting dies with the third participant: until then two browsers talk directly.
	v.Env("JVB_ADVERTISE_IPS", s.Addr.String(), "JVB_PORT", media, "JVB_DISABLE_STUN", "true", "JVB_AUTH_PASSWORD", "${JVB_AUTH_PASSWORD}",
		"VIDEOBRIDGE_MAX_MEMORY", heap("jvb"))
	v.DependsOn = map[string]kind.Depend{"prosody": {Condition: kind.WhenHealthy}}
	v.Healthcheck = s.Health("120s", "curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:8080/about/health")
}

// jigasi is asked for its statistics and not for its health: that is an error unless
// it may call somebody every few minutes, and while the exchange is down. Whether it
// is registered, the exchange knows.
func (c Config) jigasi(v *kind.ComposeService, s kind.Site, p *kind.Project) {
	ports := kind.Port(c.GatewayFirst) + "-" + kind.Port(c.GatewayLast)
	v.Tmpfs = tmpfs("128M")
	v.Ports = []string{kind.Publish(s.Addr, ports, ports, "udp")}
	v.Volumes = []string{"./jigasi:/config:ro", "./storage/transcripts:/tmp/transcripts"}
	v.Env("PUBLIC_URL", p.URL, "ENABLE_AUTH", "0", "ENABLE_GUESTS", "1", "JIGASI_ENABLE_REST", "true",
		"JIGASI_SIP_URI", c.sipURI(), "JIGASI_SIP_PASSWORD", "${JIGASI_SIP_PASSWORD}",
		"JIGASI_SIP_SERVER", c.SIPServer, "JIGASI_SIP_PORT", kind.Port(c.SIPPort), "JIGASI_SIP_TRANSPORT", strings.ToUpper(c.SIPTransport),
		"JIGASI_SIP_DEFAULT_ROOM", kind.Literal(c.Gateway.Room), "JIGASI_PORT_MIN", kind.Port(c.GatewayFirst), "JIGASI_PORT_MAX", kind.Port(c.GatewayLast),
		"JIGASI_XMPP_USER", "jigasi", "JIGASI_XMPP_PASSWORD", "${JIGASI_XMPP_PASSWORD}", "JIGASI_BREWERY_MUC", "jigasibrewery")
	v.DependsOn = map[string]kind.Depend{"prosody": {Condition: kind.WhenHealthy}}
	v.Healthcheck = s.Health("120s", "curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:8788/about/stats")
}

func heap(service string) string { return fmt.Sprintf("%dm", services()[service].heap) }

func (c Config) sipURI() string { return c.Gateway.Extension + "@" + c.SIPServer }

// Ready asks for the page, and through it for the signalling.
func (c Config) Ready(ctx context.Context, in kind.Inside) (kind.Readiness, error) {
	for _, path := range []string{"/", "/http-bind"} {
		status, _, err := in.Get(ctx, path)
		if err != nil {
			return kind.Readiness{}, err
		}
		if status != http.StatusOK {
			return kind.Readiness{}, kind.Unready(fmt.Sprintf("the meetings' page answers %d to %s", status, path))
		}
	}
	return kind.Readiness{}, nil
}

// Dump implements kind.Kind: a meeting leaves nothing behind.
func (Config) Dump(context.Context, kind.Inside, io.Writer) error { return kind.ErrNoDump }

var fatal = regexp.MustCompile(`(?im)^.*(fatal|\[emerg\]|severe|permission denied).*$`)

// Excerpt implements kind.Kind.
func (Config) Excerpt(log []byte) string { return strings.TrimSpace(string(fatal.Find(log))) }
