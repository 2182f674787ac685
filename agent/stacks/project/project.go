// Package project writes the compose projects of the stacks: Jitsi Meet with its
// SIP gateway, and Nextcloud. It is pure: it says which files and folders there
// must be, and touches nothing.
//
// It knows nothing of Docker's daemon, nor of how a project is brought up.
package project

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Names of the stacks.
const (
	Jitsi     = "jitsi"
	Nextcloud = "nextcloud"
)

// UID is the account that the images' programs run as, and its group.
const UID = 1000

// Site is what all stacks must know of the appliance.
type Site struct {
	Addr     netip.Addr // the LAN's; ports are opened there alone
	Names    []string   // other names and addresses that the pages may be asked for by
	Timezone string     // IANA name
	// Certificate and key of the pages, in PEM.
	Certificate, Key []byte
}

// Project is a stack as Docker Compose is to have it.
type Project struct {
	Name    string   // jitsi or nextcloud
	Compose []byte   // compose.yaml; holds no secret
	Env     []byte   // .env, which does; mode 0600
	Folders []Folder // made where they are missing; parents come first
	Files   []File   // kept as they are here, unless Once
	// Services by name, with what each needs.
	Services map[string]Service
	// Ports that are opened on the LAN address, as 8443/tcp or 20000-20050/udp.
	Ports []string
	// URL is the stack's page.
	URL string
}

// Service is what a service of a project needs.
type Service struct {
	Image  Image
	Memory int64 // bytes that it needs to work; its limit is higher
}

// Memory is what all services of a project need, in bytes.
func (p *Project) Memory() (sum int64) {
	for _, s := range p.Services {
		sum += s.Memory
	}
	return sum
}

// Folder is a folder below the project's own.
type Folder struct {
	Path string
	Mode fs.FileMode
	UID  int // owner and group; 0: root
}

// File is a file below the project's folder.
type File struct {
	Path    string
	Content []byte
	Mode    fs.FileMode
	UID     int // owner; the daemon may not read what is not its own
	GID     int // group
	// Link, when set, makes a symbolic link to this in place of a file.
	Link string
	// Once files are written when the project is first made; they belong to the
	// containers from then on.
	Once bool
}

const header = `# Written by sae-agent from /etc/sae-agent/config.yaml: changes made here are lost.
# 'sae-agent stacks' works with it.
`

// compose is the part of the Compose specification that is needed here.
type compose struct {
	Name     string             `yaml:"name"`
	Services map[string]service `yaml:"services"`
	Networks map[string]network `yaml:"networks"`
}

type service struct {
	Image       string            `yaml:"image"`
	PullPolicy  string            `yaml:"pull_policy"`
	Restart     string            `yaml:"restart"`
	Command     []string          `yaml:"command,omitempty"`
	ReadOnly    bool              `yaml:"read_only,omitempty"`
	Tmpfs       []string          `yaml:"tmpfs,omitempty"`
	SecurityOpt []string          `yaml:"security_opt,omitempty"`
	Environment map[string]string `yaml:"environment"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Ports       []string          `yaml:"ports,omitempty"`
	Volumes     []string          `yaml:"volumes,omitempty"`
	Networks    networks          `yaml:"networks"`
	DependsOn   map[string]depend `yaml:"depends_on,omitempty"`
	Healthcheck healthcheck       `yaml:"healthcheck"`
	MemLimit    string            `yaml:"mem_limit"`
	PidsLimit   int               `yaml:"pids_limit"`
	StopGrace   string            `yaml:"stop_grace_period,omitempty"`
	Logging     logging           `yaml:"logging"`
}

type networks map[string]attachment

type attachment struct {
	Aliases []string `yaml:"aliases,omitempty"`
}

type depend struct {
	Condition string `yaml:"condition"`
}

type healthcheck struct {
	Test        []string `yaml:"test,flow"`
	Interval    string   `yaml:"interval"`
	Timeout     string   `yaml:"timeout"`
	Retries     int      `yaml:"retries"`
	StartPeriod string   `yaml:"start_period"`
}

type network struct {
	Internal   bool              `yaml:"internal,omitempty"`
	DriverOpts map[string]string `yaml:"driver_opts"`
}

type logging struct {
	Driver  string            `yaml:"driver"`
	Options map[string]string `yaml:"options"`
}

// bridge is a network whose bridge has a name that firewall rules can know.
func bridge(name string, internal bool) network {
	return network{Internal: internal, DriverOpts: map[string]string{"com.docker.network.bridge.name": name}}
}

// base is what all services have in common.
func base(image Image, limit int64) service {
	return service{
		Image: image.Ref(), PullPolicy: "never", Restart: "unless-stopped",
		MemLimit: fmt.Sprintf("%dm", limit>>20), PidsLimit: 1024,
		// A program that talks much must not fill the disk.
		Logging: logging{Driver: "json-file", Options: map[string]string{"max-size": "10m", "max-file": "3"}},
	}
}

// health asks a service how it is; start is how long it may take to come up.
func health(start string, test ...string) healthcheck {
	return healthcheck{Test: append([]string{"CMD"}, test...), Interval: "10s", Timeout: "10s", Retries: 6, StartPeriod: start}
}

const (
	whenHealthy = "service_healthy"
	whenStarted = "service_started"
)

// encode writes compose.yaml. Compose reads $NAME as a variable: the callers
// escape what is meant literally.
func (c compose) encode() []byte {
	var b bytes.Buffer
	b.WriteString(header)
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(c); err != nil { // strings and numbers in memory: it cannot fail
		panic(err)
	}
	return b.Bytes()
}

// literal escapes a value that Compose must not read variables in.
func literal(s string) string { return strings.ReplaceAll(s, "$", "$$") }

// encodeEnv writes .env: values between quotes, in which \, " and $ are escaped.
func encodeEnv(values map[string]string) []byte {
	var b bytes.Buffer
	b.WriteString(header)
	names := make([]string, 0, len(values))
	for n := range values {
		names = append(names, n)
	}
	slices.Sort(names)
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`)
	for _, n := range names {
		fmt.Fprintf(&b, "%s=\"%s\"\n", n, escape.Replace(values[n]))
	}
	return b.Bytes()
}

// publish opens a port on the LAN address.
func publish(addr netip.Addr, outside, inside, protocol string) string {
	host := addr.String()
	if addr.Is6() {
		host = "[" + host + "]"
	}
	return host + ":" + outside + ":" + inside + "/" + protocol
}

// pages are the files that the pages' TLS needs, in a folder of ours that the
// containers only read, and the label that has them started anew when it changes.
func pages(s Site, folder string) ([]File, map[string]string) {
	sum := sha256.Sum256(slices.Concat(s.Certificate, s.Key))
	return []File{
			{Path: path.Join(folder, "cert.crt"), Content: s.Certificate, Mode: 0o644},
			{Path: path.Join(folder, "cert.key"), Content: s.Key, Mode: 0o440, GID: UID},
		},
		map[string]string{"sae-agent.certificate": hex.EncodeToString(sum[:8])}
}

// Render writes the project of a stack.
func Render(stack string, s Site, j JitsiConfig, n NextcloudConfig, images Images) (*Project, error) {
	switch stack {
	case Jitsi:
		return renderJitsi(s, j, images)
	case Nextcloud:
		return renderNextcloud(s, n, images)
	}
	return nil, fmt.Errorf("project: there is no stack %q: there are %s and %s", stack, Jitsi, Nextcloud)
}
