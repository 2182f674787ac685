package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/agent/runner"
	"github.com/sae-agent/sae-agent/packaging/dev/lab"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

func TestMain(m *testing.M) { lab.Main(m, func() error { return goleak.Find() }) }

// repository is an apt repository with packages of the names of Docker's, whose
// files are below /var/lib, where a lab's host has its own.
type repository struct {
	key   *openpgp.Entity
	files map[string][]byte // by path
}

func newKey(t *testing.T) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity("test", "", "test@example.org", &packet.Config{Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func armoured(t *testing.T, keys ...*openpgp.Entity) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
	for _, k := range keys {
		err = errors.Join(err, k.Serialize(w))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func fingerprint(k *openpgp.Entity) string { return fmt.Sprintf("%X", k.PrimaryKey.Fingerprint) }

func newRepository(t *testing.T, arch string) *repository {
	t.Helper()
	r := &repository{key: newKey(t), files: make(map[string][]byte)}
	var index bytes.Buffer
	for _, name := range Packages {
		dir := filepath.Join(t.TempDir(), name)
		for path, text := range map[string]string{
			"DEBIAN/control":       fmt.Sprintf("Package: %s\nVersion: 1\nArchitecture: all\nMaintainer: test\nDescription: test\n", name),
			"var/lib/fake/" + name: "here\n",
		} {
			full := filepath.Join(dir, path)
			if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte(text), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		deb := dir + ".deb"
		if out, err := exec.Command("dpkg-deb", "--root-owner-group", "--build", dir, deb).CombinedOutput(); err != nil {
			t.Fatalf("dpkg-deb: %v: %s", err, out)
		}
		data, err := os.ReadFile(deb)
		if err != nil {
			t.Fatal(err)
		}
		r.files["/pool/"+name+".deb"] = data
		fmt.Fprintf(&index, "Package: %s\nVersion: 1\nArchitecture: all\nMaintainer: test\nDescription: test\nFilename: pool/%s.deb\nSize: %d\nSHA256: %x\n\n", name, name, len(data), sha256.Sum256(data))
	}
	path := "stable/binary-" + arch + "/Packages"
	r.files["/dists/bookworm/"+path] = index.Bytes()
	release := fmt.Sprintf("Origin: test\nSuite: bookworm\nCodename: bookworm\nArchitectures: %s\nComponents: stable\nDate: %s\nSHA256:\n %x %d %s\n",
		arch, time.Now().UTC().Format(time.RFC1123), sha256.Sum256(index.Bytes()), index.Len(), path)
	var signed bytes.Buffer
	s, err := clearsign.Encode(&signed, r.key.PrivateKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = s.Write([]byte(release))
	_ = s.Close()
	r.files["/dists/bookworm/InRelease"] = signed.Bytes()
	r.files["/gpg"] = armoured(t, r.key)
	return r
}

func (r *repository) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	data, ok := r.files[req.URL.Path]
	if !ok {
		http.NotFound(w, req)
		return
	}
	_, _ = w.Write(data)
}

// hostRunner runs programs on a host of the lab.
type hostRunner struct{ host *labtest.Host }

func (r hostRunner) Run(ctx context.Context, c runner.Command) (runner.Result, error) {
	cmd := r.host.Host.Command(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Env = append(cmd.Env, c.Env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var failed *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &failed) {
		return runner.Result{}, err
	}
	return runner.Result{Exit: cmd.ProcessState.ExitCode(), Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}, nil
}

// The real apt installs from a repository that a test key signs.
func TestInstall(t *testing.T) {
	h := labtest.New(t).Host("machine")
	arch := strings.TrimSpace(h.Run("dpkg", "--print-architecture"))
	repo := newRepository(t, arch)
	var l net.Listener
	h.Do(func() (err error) { l, err = net.Listen("tcp", "127.0.0.1:8090"); return err })
	srv := &http.Server{Handler: repo}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })

	// Whatever apt does here, also removing what conflicts, it does to this host alone; the machine's own sources
	// cannot be reached.
	h.Run("sh", "-euc", `mkdir /run/cow; mount -t tmpfs tmpfs /run/cow
		for dir in /usr /var/cache /var/log; do
			upper=/run/cow$dir/upper work=/run/cow$dir/work
			mkdir -p $upper $work
			mount -t overlay overlay -o lowerdir=$dir,upperdir=$upper,workdir=$work $dir
		done
		rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apt/apt.conf.d/*
		echo 'APT::Sandbox::User "root"; Acquire::Languages "none"; Acquire::http::Proxy "DIRECT";' >/etc/apt/apt.conf`)
	// The host's own /etc, as one of its programs sees it.
	there := h.Start("sh", "-c", "echo ready; exec sleep 1000000")
	there.WaitOutput("ready")
	root := fmt.Sprintf("/proc/%d/root", there.Pid())
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		failed := h.Host.Do(func() error {
			c, err = new(net.Dialer).DialContext(ctx, network, addr)
			return nil
		})
		return c, errors.Join(failed, err)
	}}
	i := Installer{
		Root: root, BaseURL: "http://127.0.0.1:8090", Fingerprint: fingerprint(repo.key),
		HTTP: &http.Client{Transport: transport}, Runner: hostRunner{h},
	}
	exists := func(path string) bool {
		_, err := os.Stat(filepath.Join(root, path))
		return err == nil
	}

	if replaced, err := i.Replaces(t.Context()); err != nil || !slices.Contains(replaced, "docker.io") {
		t.Errorf("what is replaced: %v, %v", replaced, err)
	}
	t.Run("key of somebody else", func(t *testing.T) {
		other := i
		other.Fingerprint = Fingerprint
		if err := other.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("Run() = %v", err)
		}
		if exists(keyring) || exists(source) {
			t.Error("key or source was written")
		}
	})
	t.Run("repository that is not signed by the key", func(t *testing.T) {
		right := repo.files["/gpg"]
		other := newKey(t)
		repo.files["/gpg"] = armoured(t, other)
		defer func() { repo.files["/gpg"] = right }()
		wrong := i
		wrong.Fingerprint = fingerprint(other)
		if err := wrong.Run(t.Context()); err == nil {
			t.Error("it was installed")
		}
		if exists(keyring) || exists(source) || exists("var/lib/fake/docker-ce") {
			t.Error("key, source or packages are there")
		}
	})
	for _, what := range []string{"first", "again"} {
		t.Run(what, func(t *testing.T) {
			if err := i.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, p := range Packages {
				if !exists("var/lib/fake/" + p) {
					t.Errorf("%s is not installed", p)
				}
			}
			if !exists(keyring) || !exists(source) {
				t.Error("key or source is not there")
			}
			if replaced, err := i.Replaces(t.Context()); err != nil || slices.Contains(replaced, "docker.io") {
				t.Errorf("still to be replaced: %v, %v", replaced, err)
			}
			if _, err := os.Stat("/usr/sbin/dockerd"); err != nil {
				t.Fatalf("the machine's own Docker was touched: %v", err)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	one, two := newKey(t), newKey(t)
	if key, err := checkKey(armoured(t, one), fingerprint(one)); err != nil || len(key) == 0 {
		t.Errorf("the right key: %v", err)
	}
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"another key":       {armoured(t, two), "somebody may be between"},
		"one more key":      {armoured(t, one, two), "2 keys"},
		"no key":            {[]byte("<html>log in to the hotel's network</html>"), "cannot be read"},
		"empty":             {nil, "cannot be read"},
		"cut off in a line": {armoured(t, one)[:300], "cannot be read"},
	} {
		if _, err := checkKey(tt.data, fingerprint(one)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestForeignSystems(t *testing.T) {
	for name, text := range map[string]string{
		"ubuntu": "ID=ubuntu\nVERSION_CODENAME=noble\n", "old": "ID=debian\nVERSION_CODENAME=\"buster\"\n", "none": "",
	} {
		root := t.TempDir()
		if err := errors.Join(os.Mkdir(filepath.Join(root, "etc"), 0o755), os.WriteFile(filepath.Join(root, "etc/os-release"), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(http.NotFoundHandler())
		err := Installer{Root: root, BaseURL: srv.URL, HTTP: srv.Client()}.Run(t.Context())
		srv.Close()
		if err == nil || !strings.Contains(err.Error(), "yourself") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
