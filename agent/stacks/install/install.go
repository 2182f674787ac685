// Package install sets up the apt repository of Docker's makers on Debian and
// installs Docker with its compose plugin from there.
//
// The repository's key is fetched, and used only if it is the one whose
// fingerprint is known here. The package knows nothing of stacks.
package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/sae-agent/sae-agent/agent/durable"
	"github.com/sae-agent/sae-agent/agent/runner"
)

// The repository of Docker's makers, and the fingerprint of the key that signs it,
// as https://docs.docker.com/engine/install/debian/ names them.
const (
	BaseURL     = "https://download.docker.com/linux/debian"
	Fingerprint = "9DC858229FC7DD38854AE2D88D81803C0EBFCD88"
)

// Packages are what is installed.
var Packages = []string{"docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin"}

// Where the key and the source are written to.
const (
	keyring = "etc/apt/keyrings/sae-agent-docker.gpg"
	source  = "etc/apt/sources.list.d/sae-agent-docker.sources"
)

// maxKey bounds the key that is read.
const maxKey = 1 << 20

// codenames are the releases of Debian that the repository serves.
var codenames = []string{"bookworm", "trixie"}

// Runner runs programs.
type Runner interface {
	Run(ctx context.Context, c runner.Command) (runner.Result, error)
}

// Installer installs Docker on one machine.
type Installer struct {
	Root        string // of the machine's files, usually /
	BaseURL     string
	Fingerprint string // 40 hexadecimal digits
	HTTP        *http.Client
	Runner      Runner
}

// Run installs Docker. Done again it brings what is installed up to date. When the
// key is not the one that is known, or the release is not served, nothing is
// changed.
func (i Installer) Run(ctx context.Context) error {
	codename, err := i.codename()
	if err != nil {
		return err
	}
	arch, err := i.command(ctx, "dpkg", "--print-architecture")
	if err != nil {
		return err
	}
	key, err := i.fetchKey(ctx)
	if err != nil {
		return err
	}
	undo, err := i.write(key, sourceText(i.BaseURL, codename, strings.TrimSpace(arch)))
	if err != nil {
		return err
	}
	if _, err = i.apt(ctx, "update"); err == nil {
		_, err = i.apt(ctx, append([]string{"install", "--no-install-recommends"}, Packages...)...)
	}
	if err != nil {
		return errors.Join(err, undo())
	}
	return nil
}

// Replaces lists the installed packages of Debian that those of Docker's makers
// take the place of.
func (i Installer) Replaces(ctx context.Context) ([]string, error) {
	var out []string
	for _, p := range []string{"docker.io", "docker-compose", "containerd", "runc"} {
		r, err := i.Runner.Run(ctx, runner.Command{Name: "sae-agent-install-docker", Argv: []string{"dpkg-query", "--show", "--showformat=${db:Status-Status}", p}})
		if err != nil {
			return nil, fmt.Errorf("install: %w", err)
		}
		if r.Exit == 0 && string(r.Stdout) == "installed" {
			out = append(out, p)
		}
	}
	return out, nil
}

func (i Installer) codename() (string, error) {
	data, err := os.ReadFile(filepath.Join(i.Root, "etc/os-release"))
	if err != nil {
		return "", fmt.Errorf("install: which system is this? %w", err)
	}
	values := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[name] = strings.Trim(value, `"'`)
		}
	}
	name := values["VERSION_CODENAME"]
	if values["ID"] != "debian" || !slices.Contains(codenames, name) {
		return "", fmt.Errorf("install: this is %s %s, and Docker's repository is set up on Debian %s only: install Docker and its compose plugin yourself",
			values["ID"], name, strings.Join(codenames, " and "))
	}
	return name, nil
}

// fetchKey gets the repository's key and returns it if it is the one that is known,
// and nothing else: further keys in the file would be trusted, too.
func (i Installer) fetchKey(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, i.BaseURL+"/gpg", nil)
	if err != nil {
		return nil, fmt.Errorf("install: %w", err)
	}
	resp, err := i.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("install: fetch the key: %w: is the WAN up?", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("install: fetch the key: %s says %s", req.URL, resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxKey))
	if err != nil {
		return nil, fmt.Errorf("install: fetch the key: %w", err)
	}
	return checkKey(data, i.Fingerprint)
}

// checkKey returns the one key in an armoured file, without its armour.
func checkKey(armoured []byte, fingerprint string) ([]byte, error) {
	keys, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(armoured))
	if err != nil {
		return nil, fmt.Errorf("install: the repository's key cannot be read: %w", err)
	}
	if len(keys) != 1 {
		return nil, fmt.Errorf("install: there are %d keys where one is expected: nothing was changed", len(keys))
	}
	if got := fmt.Sprintf("%X", keys[0].PrimaryKey.Fingerprint); got != fingerprint {
		return nil, fmt.Errorf("install: the repository's key is %s, and %s is the one that is known: nothing was changed; somebody may be between this machine and the repository", got, fingerprint)
	}
	var out bytes.Buffer
	if err := keys[0].Serialize(&out); err != nil {
		return nil, fmt.Errorf("install: %w", err)
	}
	return out.Bytes(), nil
}

// sourceText is a source of apt (sources.list(5), deb822 style).
func sourceText(url, codename, arch string) string {
	return fmt.Sprintf(`# Written by 'sae-agent stacks install-docker'.
Types: deb
URIs: %s
Suites: %s
Components: stable
Architectures: %s
Signed-By: /%s
`, url, codename, arch, keyring)
}

// write puts key and source in their places. undo removes what was not there before.
func (i Installer) write(key []byte, text string) (undo func() error, err error) {
	var made []string
	undo = func() error {
		var all []error
		for _, path := range made {
			if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
				all = append(all, err)
			}
		}
		return errors.Join(all...)
	}
	for _, f := range []struct {
		path string
		data []byte
	}{{keyring, key}, {source, []byte(text)}} {
		path := filepath.Join(i.Root, f.path)
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			made = append(made, path)
		}
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = durable.WriteFile(path, f.data, 0o644)
		}
		if err != nil {
			return undo, errors.Join(fmt.Errorf("install: %w", err), undo())
		}
	}
	return undo, nil
}

func (i Installer) apt(ctx context.Context, args ...string) (string, error) {
	return i.command(ctx, append([]string{"apt-get", "--quiet", "--yes", "-o", "DPkg::Lock::Timeout=600", "-o", "APT::Update::Error-Mode=any"}, args...)...)
}

func (i Installer) command(ctx context.Context, argv ...string) (string, error) {
	r, err := i.Runner.Run(ctx, runner.Command{Name: "sae-agent-install-docker", Argv: argv, Env: []string{"DEBIAN_FRONTEND=noninteractive", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}})
	if err != nil {
		return "", fmt.Errorf("install: %w", err)
	}
	if r.Exit != 0 {
		return "", fmt.Errorf("install: %s: %s", strings.Join(argv[:1], " "), bytes.TrimSpace(append(r.Stderr, r.Stdout...)))
	}
	return string(r.Stdout), nil
}
