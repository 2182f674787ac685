package project

import (
	"fmt"
	"strconv"
	"strings"
)

// RoomHeader is the SIP header in which the exchange tells the gateway which
// meeting a call is for. The gateway's image has it fixed.
const RoomHeader = "X-Room-Name"

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

// JitsiConfig is what Jitsi must be told.
type JitsiConfig struct {
	HTTPSPort, MediaPort      uint16
	GatewayFirst, GatewayLast uint16 // UDP ports of the gateway's voice
	Gateway                   Gateway
	SIPServer                 string // address of the exchange
	SIPPort                   uint16
	SIPTransport              string // udp, tcp or tls
	// Passwords: of the gateway's account, and between the services.
	SIPSecret, JicofoSecret, JVBSecret, JigasiSecret string
}

// mib is a mebibyte.
const mib = 1 << 20

// What Jitsi's services need to work, and what they may take. Java gets less than
// the limit, since it needs memory besides its heap.
var jitsiMemory = map[string]struct{ need, limit, heap int64 }{
	"web":     {48 * mib, 256 * mib, 0},
	"prosody": {96 * mib, 384 * mib, 0},
	"jicofo":  {256 * mib, 768 * mib, 384},
	"jvb":     {384 * mib, 1536 * mib, 768},
	"jigasi":  {384 * mib, 1024 * mib, 0},
}

// tmpfs are what the images, whose root is read-only, write to.
var tmpfs = []string{"/run:size=16M,mode=1750,exec", "/tmp:size=16M,mode=1777,noexec"}

func renderJitsi(s Site, c JitsiConfig, images Images) (*Project, error) {
	image, err := images.get(Jitsi, "web", "prosody", "jicofo", "jvb", "jigasi")
	if err != nil {
		return nil, err
	}
	url := fmt.Sprintf("https://%s:%d", s.Addr, c.HTTPSPort)
	keys, labels := pages(s, "web/keys")
	services := map[string]service{
		"web": jitsiService("web", image, s, func(v *service) {
			v.Ports = []string{publish(s.Addr, port(c.HTTPSPort), "8443", "tcp")}
			v.Volumes = []string{"./web:/config:ro", "./storage/web:/storage", "./storage/transcripts:/usr/share/jitsi-meet/transcripts:ro"}
			v.Labels = labels
			v.env("PUBLIC_URL", url, "ENABLE_LETSENCRYPT", "0", "ENABLE_HTTP_REDIRECT", "0", "ENABLE_AUTH", "0", "ENABLE_GUESTS", "1")
			v.DependsOn = map[string]depend{"prosody": {whenHealthy}, "jvb": {whenStarted}}
			v.Healthcheck = health("60s", "curl", "-fsSk", "-o", "/dev/null", "https://127.0.0.1:8443/")
		}),
		"prosody": jitsiService("prosody", image, s, func(v *service) {
			v.Volumes = []string{"./prosody/config:/config:ro", "./prosody/prosody-plugins-custom:/prosody-plugins-custom:ro", "./storage/prosody:/var/lib/prosody"}
			v.Networks = networks{"meet": {Aliases: []string{"xmpp.meet.jitsi"}}}
			v.env("PUBLIC_URL", url, "ENABLE_AUTH", "0", "ENABLE_GUESTS", "1",
				"JICOFO_AUTH_PASSWORD", "${JICOFO_AUTH_PASSWORD}", "JVB_AUTH_PASSWORD", "${JVB_AUTH_PASSWORD}",
				"JIGASI_XMPP_USER", "jigasi", "JIGASI_XMPP_PASSWORD", "${JIGASI_XMPP_PASSWORD}")
			v.Healthcheck = health("60s", "curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:5280/health")
		}),
		"jicofo": jitsiService("jicofo", image, s, func(v *service) {
			v.Volumes = []string{"./jicofo:/config:ro"}
			v.env("ENABLE_AUTH", "0", "JICOFO_AUTH_PASSWORD", "${JICOFO_AUTH_PASSWORD}", "JICOFO_ENABLE_REST", "true",
				"JICOFO_ENABLE_HEALTH_CHECKS", "true", "JIGASI_BREWERY_MUC", "jigasibrewery", "JIGASI_SIP_URI", c.sipURI())
			v.DependsOn = map[string]depend{"prosody": {whenHealthy}}
			v.Healthcheck = health("120s", "curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:8888/about/health")
		}),
		"jvb": jitsiService("jvb", image, s, func(v *service) {
			media := port(c.MediaPort)
			v.Ports = []string{publish(s.Addr, media, media, "udp")}
			v.Volumes = []string{"./jvb:/config:ro"}
			// Without the address a meeting dies with the third participant: until then two browsers talk directly.
			v.env("JVB_ADVERTISE_IPS", s.Addr.String(), "JVB_PORT", media, "JVB_DISABLE_STUN", "true", "JVB_AUTH_PASSWORD", "${JVB_AUTH_PASSWORD}")
			v.DependsOn = map[string]depend{"prosody": {whenHealthy}}
			v.Healthcheck = health("120s", "curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:8080/about/health")
		}),
		"jigasi": jitsiService("jigasi", image, s, func(v *service) {
			ports := port(c.GatewayFirst) + "-" + port(c.GatewayLast)
			v.Tmpfs = []string{tmpfs[0], "/tmp:size=128M,mode=1777,noexec"}
			v.Ports = []string{publish(s.Addr, ports, ports, "udp")}
			v.Volumes = []string{"./jigasi:/config:ro"}
			v.env("PUBLIC_URL", url, "ENABLE_AUTH", "0", "ENABLE_GUESTS", "1", "JIGASI_ENABLE_REST", "true",
				"JIGASI_SIP_URI", c.sipURI(), "JIGASI_SIP_PASSWORD", "${JIGASI_SIP_PASSWORD}",
				"JIGASI_SIP_SERVER", c.SIPServer, "JIGASI_SIP_PORT", port(c.SIPPort), "JIGASI_SIP_TRANSPORT", strings.ToUpper(c.SIPTransport),
				"JIGASI_SIP_DEFAULT_ROOM", literal(c.Gateway.Room), "JIGASI_PORT_MIN", port(c.GatewayFirst), "JIGASI_PORT_MAX", port(c.GatewayLast),
				"JIGASI_XMPP_USER", "jigasi", "JIGASI_XMPP_PASSWORD", "${JIGASI_XMPP_PASSWORD}", "JIGASI_BREWERY_MUC", "jigasibrewery")
			v.DependsOn = map[string]depend{"prosody": {whenHealthy}}
			v.Healthcheck = health("120s", "curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:8788/about/health")
		}),
	}
	p := &Project{
		Name: Jitsi, URL: url, Services: make(map[string]Service),
		Compose: compose{Name: "sae-jitsi", Services: services, Networks: map[string]network{"meet": bridge("sae-jitsi", false)}}.encode(),
		Env: encodeEnv(map[string]string{
			"JIGASI_SIP_PASSWORD": c.SIPSecret, "JICOFO_AUTH_PASSWORD": c.JicofoSecret, "JVB_AUTH_PASSWORD": c.JVBSecret, "JIGASI_XMPP_PASSWORD": c.JigasiSecret,
		}),
		Files: keys,
		Ports: []string{port(c.HTTPSPort) + "/tcp", port(c.MediaPort) + "/udp", port(c.GatewayFirst) + "-" + port(c.GatewayLast) + "/udp"},
	}
	for name := range services {
		p.Services[name] = Service{Image: image[name], Memory: jitsiMemory[name].need}
	}
	// The images read below their own folders and write below storage, as UID.
	for _, f := range []string{"web", "web/keys", "prosody", "prosody/config", "prosody/prosody-plugins-custom", "jicofo", "jvb", "jigasi", "storage"} {
		p.Folders = append(p.Folders, Folder{Path: f, Mode: 0o755})
	}
	for _, f := range []string{"storage/web", "storage/prosody", "storage/transcripts"} {
		p.Folders = append(p.Folders, Folder{Path: f, Mode: 0o750, UID: UID})
	}
	return p, nil
}

func jitsiService(name string, images map[string]Image, s Site, more func(*service)) service {
	m := jitsiMemory[name]
	v := base(images[name], m.limit)
	v.ReadOnly, v.Tmpfs, v.SecurityOpt = true, tmpfs, []string{"no-new-privileges:true"}
	v.Networks = networks{"meet": {}}
	v.env("TZ", s.Timezone)
	switch name {
	case "jicofo":
		v.env("JICOFO_MAX_MEMORY", fmt.Sprintf("%dm", m.heap))
	case "jvb":
		v.env("VIDEOBRIDGE_MAX_MEMORY", fmt.Sprintf("%dm", m.heap))
	}
	more(&v)
	return v
}

// env sets variables, given as name and value in turn.
func (v *service) env(pairs ...string) {
	if v.Environment == nil {
		v.Environment = make(map[string]string)
	}
	for i := 0; i < len(pairs); i += 2 {
		v.Environment[pairs[i]] = pairs[i+1]
	}
}

func (c JitsiConfig) sipURI() string { return c.Gateway.Extension + "@" + c.SIPServer }

func port(p uint16) string { return strconv.Itoa(int(p)) }
