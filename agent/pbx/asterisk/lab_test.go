package asterisk

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/pbx"
	"github.com/sae-agent/sae-agent/agent/pbx/ami"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// exchange is a real Asterisk with our driver before it.
type exchange struct {
	*Driver
	host    *labtest.Host
	server  *labtest.Asterisk
	reloads chan string // modules that Asterisk has reloaded
}

// newExchange installs an Asterisk, with files beside Debian's, and a driver. It does not start it.
func newExchange(t *testing.T, extra map[string]string) *exchange {
	host := labtest.New(t).Host("pbx")
	host.Addr("lo", "192.168.1.1/24")
	x := &exchange{host: host, server: host.InstallAsterisk(extra), reloads: make(chan string, 1000)}
	client := ami.New(ami.Config{
		Addr: "127.0.0.1:5038", User: "sae-agent", Secret: site().ManagerSecret.Reveal(), MinDelay: 10 * time.Millisecond, MaxDelay: 100 * time.Millisecond,
		OnEvent: func(m ami.Message) {
			if m.Event() == "Reload" {
				x.reloads <- m.Get("Module")
			}
		},
		Dial: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
			err = host.Host.Do(func() error {
				conn, err = new(net.Dialer).DialContext(ctx, network, addr)
				return err
			})
			return conn, err
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = client.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	x.Driver = New(Config{
		Dir: x.server.Etc(), Marker: filepath.Join(t.TempDir(), "reload"),
		Console: func(ctx context.Context, command string) error {
			_, err := x.server.Server.CLI(ctx, command)
			return err
		},
	}, client)
	return x
}

func (x *exchange) apply(t *testing.T, want pbx.Desired) string {
	t.Helper()
	changes, err := x.Apply(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(changes)
}

// snapshot is every file with owner, mode and content.
func (x *exchange) snapshot(t *testing.T) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(x.server.Etc(), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		o, _ := ownerOf(path)
		out[e.Name()] = fmt.Sprintf("%+v\n%s", o, data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A fresh Debian Asterisk runs already when the agent comes, and does not know it.
func TestTakeOver(t *testing.T) {
	x := newExchange(t, map[string]string{"pjsip.conf": "[hand]\ntype=endpoint\ncontext=from-hand\n"})
	x.server.Start()
	before := x.snapshot(t)
	want := site()
	x.apply(t, want)

	t.Run("what Asterisk has", func(t *testing.T) {
		for command, parts := range map[string][]string{
			"pjsip show endpoint 101":        {"callerid", `"Bob 'the; builder' (b@x)  Ltd." <101>`, "(alaw|ulaw|g722)"},
			"pjsip show auth 101":            {`>semi;colon\;=#`},
			"pjsip show transports":          {"sae-udp", "sae-tcp", "192.168.1.1:5060"},
			"pjsip show endpoint hand":       {"from-hand"},
			"rtp show settings":              {"10100", "19999"},
			"core show hint 100":             {"PJSIP/100"},
			"dialplan show *97@sae":          {"VoiceMailMain"},
			"dialplan show 80001234@sae":     {"FILTER"},
			"dialplan show +100@sae-gateway": {"Goto"},
			"voicemail show users":           {"100", "Alice", "sae"},
			"logger show channels":           {"security.log"},
		} {
			out := x.server.CLI(command)
			for _, part := range parts {
				if !strings.Contains(out, part) {
					t.Errorf("%s: %q is missing:\n%s", command, part, out)
				}
			}
		}
	})
	t.Run("files of others", func(t *testing.T) {
		for name, was := range before {
			is := x.snapshot(t)[name]
			if is = strings.Replace(is, `#tryinclude "sae-`+name+"\"\n", "", 1); is != was {
				t.Errorf("%s has changed:\n%s\n---\n%s", name, was, is)
			}
		}
	})
	t.Run("our files", func(t *testing.T) {
		for _, f := range files {
			o, ok := ownerOf(filepath.Join(x.server.Etc(), f.name))
			if wanted := f.name != certificateName; ok != wanted || o.mode&0o007 != 0 { // there is no TLS
				t.Errorf("%s: there %v, %v", f.name, ok, o)
			}
		}
	})
	t.Run("twice", func(t *testing.T) {
		x.quiet(t, want)
	})
	t.Run("one change", func(t *testing.T) {
		want.Extensions[2].Name = "Zora"
		if got := x.apply(t, want); got != "[pbx: change extension 102: name Zoë -> Zora]" {
			t.Error(got)
		}
		if out := x.server.CLI("pjsip show endpoint 102"); !strings.Contains(out, `"Zora" <102>`) {
			t.Error(out)
		}
	})
	t.Run("removal", func(t *testing.T) {
		want.Extensions = want.Extensions[:2]
		want.KeepRemoved = true
		x.apply(t, want)
		if out := x.server.CLI("pjsip show endpoints"); !strings.Contains(out, "102") {
			t.Errorf("removed before the confirmation:\n%s", out)
		}
		want.KeepRemoved = false
		x.apply(t, want)
		if out := x.server.CLI("pjsip show endpoints"); strings.Contains(out, "102") || !strings.Contains(out, "hand") || !strings.Contains(out, "100") {
			t.Errorf("after the removal:\n%s", out)
		}
		if out := x.server.CLI("dialplan show 102@sae"); strings.Contains(out, "sae-call") {
			t.Errorf("still in the dialplan:\n%s", out)
		}
	})
	t.Run("another address", func(t *testing.T) {
		x.host.Addr("lo", "192.168.2.1/24")
		for i := range want.Transports {
			want.Transports[i].Listen = netip.MustParseAddrPort("192.168.2.1:5062")
		}
		x.apply(t, want)
		labtest.Eventually(t, func() error {
			if out := x.host.Run("ss", "-lun"); !strings.Contains(out, "192.168.2.1:5062") || strings.Contains(out, "192.168.1.1:5060") {
				return fmt.Errorf("listens on:\n%s", out)
			}
			return nil
		})
	})
}

// selfSigned makes a certificate and its key, in PEM.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(192, 168, 1, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

func TestTLS(t *testing.T) {
	x := newExchange(t, nil)
	x.server.Start()
	want := site()
	want.Transports = append(want.Transports, pbx.Transport{Protocol: "tls", Listen: netip.MustParseAddrPort("192.168.1.1:5061")})
	cert, key := selfSigned(t)
	want.Certificate, want.Key = cert, pbx.Secret(key)
	x.apply(t, want)
	labtest.Eventually(t, func() error {
		var peer *x509.Certificate
		err := x.host.Host.Do(func() error {
			conn, err := tls.Dial("tcp", "192.168.1.1:5061", &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				return err
			}
			peer = conn.ConnectionState().PeerCertificates[0]
			return conn.Close()
		})
		if err == nil && string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: peer.Raw})) != cert {
			err = errors.New("another certificate")
		}
		return err
	})
	if o, ok := ownerOf(filepath.Join(x.server.Etc(), certificateName)); !ok || o.mode&0o007 != 0 {
		t.Errorf("its key is not there or open to all: %v", o)
	}
	x.quiet(t, want)
}

// quiet applies and fails when anything happens.
func (x *exchange) quiet(t *testing.T, want pbx.Desired) {
	t.Helper()
	for len(x.reloads) > 0 {
		<-x.reloads
	}
	was := x.snapshot(t)
	if got := x.apply(t, want); got != "[]" {
		t.Errorf("changes: %s", got)
	}
	is := x.snapshot(t)
	for name := range is {
		if is[name] != was[name] {
			t.Errorf("%s was written", name)
		}
	}
	if _, err := x.manager.Do(t.Context(), ami.NewAction("Ping")); err != nil {
		t.Error(err)
	}
	if len(x.reloads) > 0 {
		t.Errorf("reloaded: %s", <-x.reloads)
	}
}

// Files are written while Asterisk is down, and nothing is lost when we are killed before it has read them.
func TestDown(t *testing.T) {
	x := newExchange(t, nil)
	if _, err := x.Apply(t.Context(), site()); err == nil || !strings.Contains(err.Error(), pbx.ErrDown.Error()) {
		t.Errorf("Asterisk does not run: %v", err)
	}
	x.server.Start()
	labtest.Eventually(t, func() error {
		if !x.manager.Status().Up {
			return x.manager.Status().Err
		}
		return nil
	})
	if out := x.server.CLI("core show application VoiceMailMain"); !strings.Contains(out, "mailbox") {
		t.Errorf("no voice mail:\n%s", out)
	}
	if err := os.WriteFile(filepath.Join(x.server.Etc(), pjsipName), []byte(header), 0o640); err != nil {
		t.Fatal(err)
	}
	x.server.CLI("module reload res_pjsip.so")
	// Written, and killed before the reload.
	h, err := x.read()
	if err != nil {
		t.Fatal(err)
	}
	p, err := makePlan(h, site())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.due(p.modules); err != nil {
		t.Fatal(err)
	}
	if err := x.write(p); err != nil {
		t.Fatal(err)
	}
	if got := x.apply(t, site()); got != "[]" {
		t.Errorf("changes: %s", got)
	}
	if out := x.server.CLI("pjsip show endpoints"); !strings.Contains(out, "1000") {
		t.Errorf("not reloaded:\n%s", out)
	}
	x.quiet(t, site())
}

func TestManyExtensions(t *testing.T) {
	x := newExchange(t, nil)
	x.server.Start()
	want := site()
	for i := range 500 {
		n := fmt.Sprint(2000 + i)
		want.Extensions = append(want.Extensions, pbx.Extension{Number: n, Name: "Phone " + n, Secret: pbx.Secret("secret-of-" + n), Voicemail: true})
	}
	began := time.Now()
	x.apply(t, want)
	t.Logf("503 extensions in %v", time.Since(began))
	if out := x.server.CLI("pjsip show endpoint 2499"); !strings.Contains(out, "Phone 2499") {
		t.Error(out)
	}
	began = time.Now()
	x.quiet(t, want)
	t.Logf("again in %v", time.Since(began))
	want.Extensions[400].Secret = "another-secret-x"
	began = time.Now()
	x.apply(t, want)
	t.Logf("one change in %v", time.Since(began))
}
