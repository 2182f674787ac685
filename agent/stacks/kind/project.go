package kind

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Project is a stack as Docker Compose is to have it.
type Project struct {
	Compose []byte   // compose.yaml; holds no secret
	Env     []byte   // .env, which does; mode 0600
	Folders []Folder // made where they are missing; parents come first
	Files   []File   // kept as they are here
	// Services by name, with what each needs.
	Services map[string]Service
	// Ports that are opened on the LAN address, as 8443/tcp or 20000-20050/udp.
	Ports []string
	// URL is the stack's page.
	URL string
	// Foreign are paths that only another project than this one leaves, and what to
	// say then: nothing is touched.
	Foreign map[string]Note
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

// File is a file below the project's folder. Containers see the folder that it is
// in: a file that is mounted by itself would stay the old one when it is replaced.
type File struct {
	Path    string
	Content []byte
	Mode    fs.FileMode
	GID     int // group; the owner is root
}

const header = `# Written by sae-agent from /etc/sae-agent/config.yaml: changes made here are lost.
# 'sae-agent stacks' works with it.
`

// Compose is the part of the Compose specification that is needed here.
type Compose struct {
	Name     string                    `yaml:"name"`
	Services map[string]ComposeService `yaml:"services"`
	Networks map[string]Network        `yaml:"networks"`
}

// ComposeService is a service as Compose has it.
type ComposeService struct {
	Image       string            `yaml:"image"`
	PullPolicy  string            `yaml:"pull_policy"`
	Restart     string            `yaml:"restart"`
	User        string            `yaml:"user,omitempty"`
	Entrypoint  []string          `yaml:"entrypoint,omitempty"`
	Command     []string          `yaml:"command,omitempty"`
	ReadOnly    bool              `yaml:"read_only,omitempty"`
	Tmpfs       []string          `yaml:"tmpfs,omitempty"`
	SecurityOpt []string          `yaml:"security_opt,omitempty"`
	Environment map[string]string `yaml:"environment"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Ports       []string          `yaml:"ports,omitempty"`
	Volumes     []string          `yaml:"volumes,omitempty"`
	Networks    Attachments       `yaml:"networks"`
	DependsOn   map[string]Depend `yaml:"depends_on,omitempty"`
	Healthcheck *Healthcheck      `yaml:"healthcheck,omitempty"`
	MemLimit    string            `yaml:"mem_limit"`
	PidsLimit   int               `yaml:"pids_limit"`
	StopGrace   string            `yaml:"stop_grace_period,omitempty"`
	Logging     Logging           `yaml:"logging"`
}

// Attachments are the networks that a service is on.
type Attachments map[string]Attachment

// Attachment is how a service is on a network.
type Attachment struct {
	Aliases []string `yaml:"aliases,omitempty"`
}

// Depend is what a service waits for.
type Depend struct {
	Condition string `yaml:"condition"`
}

// Conditions of Depend.
const (
	WhenHealthy = "service_healthy"
	WhenStarted = "service_started"
)

// Healthcheck is how Docker asks a container.
type Healthcheck struct {
	Test        []string `yaml:"test,flow"`
	Interval    string   `yaml:"interval"`
	Timeout     string   `yaml:"timeout"`
	Retries     int      `yaml:"retries"`
	StartPeriod string   `yaml:"start_period"`
}

// Network is a network of a project.
type Network struct {
	Internal   bool              `yaml:"internal,omitempty"`
	DriverOpts map[string]string `yaml:"driver_opts"`
}

// Logging is where a container's output goes.
type Logging struct {
	Driver  string            `yaml:"driver"`
	Options map[string]string `yaml:"options"`
}

// Bridge is a network whose bridge has a name that firewall rules can know.
func Bridge(name string, internal bool) Network {
	return Network{Internal: internal, DriverOpts: map[string]string{"com.docker.network.bridge.name": name}}
}

// Base is what all services have in common; limit is of memory, in bytes.
func Base(image Image, s Site, limit int64) ComposeService {
	return ComposeService{
		Image: image.Ref(), PullPolicy: "never", Restart: "unless-stopped",
		MemLimit: fmt.Sprintf("%dm", limit>>20), PidsLimit: 1024, SecurityOpt: []string{"no-new-privileges:true"},
		Environment: map[string]string{"TZ": s.Timezone},
		// Versions change by an update of ours, which can be undone, not by Watchtower's.
		Labels: map[string]string{"com.centurylinklabs.watchtower.enable": "false"},
		// A program that talks much must not fill the disk.
		Logging: Logging{Driver: "json-file", Options: map[string]string{"max-size": "10m", "max-file": "3"}},
	}
}

// Env sets variables, given as name and value in turn.
func (v *ComposeService) Env(pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		v.Environment[pairs[i]] = pairs[i+1]
	}
}

// Health asks a service how it is; start is how long it may take to come up.
func (s Site) Health(start string, test ...string) *Healthcheck {
	every := cmp.Or(s.HealthEvery, defaultHealthEvery)
	return &Healthcheck{Test: append([]string{"CMD"}, test...), Interval: every.String(), Timeout: "10s", Retries: 6, StartPeriod: start}
}

// Encode writes compose.yaml. Compose reads $NAME as a variable: the callers
// escape what is meant literally.
func (c Compose) Encode() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(header)
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(c); err != nil {
		return nil, fmt.Errorf("kind: %w", err)
	}
	return b.Bytes(), nil
}

// Literal escapes a value that Compose must not read variables in.
func Literal(s string) string { return strings.ReplaceAll(s, "$", "$$") }

// EncodeEnv writes .env: values between quotes, in which \, " and $ are escaped.
func EncodeEnv(values map[string]string) []byte {
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

// Publish opens a port on the LAN address.
func Publish(addr netip.Addr, outside, inside, protocol string) string {
	host := addr.String()
	if addr.Is6() {
		host = "[" + host + "]"
	}
	return host + ":" + outside + ":" + inside + "/" + protocol
}

// Port writes a port.
func Port(p uint16) string { return strconv.Itoa(int(p)) }

// Pages are the files that the pages' TLS needs, in a folder that the containers
// only read. The key can be overwritten by who copies it as UID.
func Pages(s Site, folder string) []File {
	return []File{
		{Path: path.Join(folder, "cert.crt"), Content: s.Certificate, Mode: 0o644},
		{Path: path.Join(folder, "cert.key"), Content: s.Key, Mode: 0o640, GID: UID},
	}
}

// Follow recreates a service when one of the files changes that it reads at its
// start only.
func (v *ComposeService) Follow(files ...File) {
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%s %d\n", f.Path, len(f.Content))
		h.Write(f.Content)
	}
	v.Labels["sae-agent.files"] = hex.EncodeToString(h.Sum(nil)[:8])
}
