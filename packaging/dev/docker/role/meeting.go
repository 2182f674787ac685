package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// meetingUID is the account of Jitsi's images.
const meetingUID = 1000

// startMeeting starts a service of Jitsi: s6-overlay's setuid start first, then the
// image's own preparation as the account, then the service.
func startMeeting([]string) error {
	if err := suexec(); err != nil {
		return err
	}
	services := map[string]func() error{"web": meetingWeb, "prosody": meetingXMPP, "jicofo": meetingFocus, "jvb": meetingBridge, "jigasi": meetingGateway}
	run := services[os.Getenv("SERVICE")]
	if run == nil {
		return fmt.Errorf("no service %q", os.Getenv("SERVICE"))
	}
	if os.Getenv("BROKEN") != "" {
		select {}
	}
	return run()
}

// suexec does what s6-overlay-suexec does: as root it gives /run to the account;
// when it cannot be root, /run must be the account's already.
func suexec() error {
	if os.Geteuid() == 0 {
		if err := os.Chown("/run", meetingUID, meetingUID); err != nil {
			return err
		}
	}
	for _, drop := range []error{syscall.Setresgid(meetingUID, meetingUID, meetingUID), syscall.Setresuid(meetingUID, meetingUID, meetingUID)} {
		if drop != nil {
			return drop
		}
	}
	f, err := os.Create("/run/test of writability")
	if err != nil {
		return errors.New("s6-overlay-suexec: fatal: can't create /run/test of writability: Permission denied")
	}
	return f.Close()
}

// checkWritable is the images' own check of what they are given.
func checkWritable(path string) error {
	f, err := os.CreateTemp(path, "probe")
	if err != nil {
		return fmt.Errorf("FATAL ERROR: %s is not writable by uid %d", path, os.Getuid())
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// cp copies as cp(1) does: a new file gets the source's mode, an old one keeps its
// own and must be writable.
func cp(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	fi, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, fi.Mode())
	if err != nil {
		return fmt.Errorf("cp: cannot create regular file '%s': Permission denied", to)
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func meetingWeb() error {
	if err := checkWritable("/storage"); err != nil {
		return err
	}
	_ = os.MkdirAll("/storage/keys", 0o755)
	for _, f := range []string{"cert.crt", "cert.key"} {
		if err := cp("/config/keys/"+f, "/storage/keys/"+f); err != nil {
			fmt.Println(err) // the script goes on
		}
	}
	pair, err := tls.LoadX509KeyPair("/storage/keys/cert.crt", "/storage/keys/cert.key")
	if err != nil {
		return fmt.Errorf("nginx: [emerg] SSL_CTX_use_PrivateKey(\"/storage/keys/cert.key\") failed (%w)", err)
	}
	xmpp := &url.URL{Scheme: "http", Host: "xmpp.meet.jitsi:5280"}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, os.Getenv("PUBLIC_URL")) })
	mux.Handle("/http-bind", httputil.NewSingleHostReverseProxy(xmpp))
	srv := &http.Server{Addr: ":8443", Handler: mux, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}
	return srv.ListenAndServeTLS("", "")
}

// passwords are those of the accounts that prosody makes at its start.
var passwords = map[string]string{"jicofo": "JICOFO_AUTH_PASSWORD", "jvb": "JVB_AUTH_PASSWORD", "jigasi": "JIGASI_XMPP_PASSWORD"}

func meetingXMPP() error {
	if err := errors.Join(checkWritable("/var/lib/prosody"), os.MkdirAll("/run/prosody/config/certs", 0o750)); err != nil {
		return err
	}
	for _, v := range []string{"JICOFO_AUTH_PASSWORD", "JVB_AUTH_PASSWORD"} {
		if os.Getenv(v) == "" {
			return fmt.Errorf("FATAL ERROR: %s must be set", v)
		}
	}
	l, err := net.Listen("tcp", ":5222")
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go logIn(c)
		}
	}()
	for _, path := range []string{"/health", "/http-bind"} {
		http.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	}
	return http.ListenAndServe(":5280", nil)
}

// logIn answers whether account and password are known.
func logIn(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return
	}
	for account, variable := range passwords {
		if line == account+" "+os.Getenv(variable)+"\n" {
			fmt.Fprintln(c, "ok")
			return
		}
	}
	fmt.Fprintln(c, "not-authorized")
}

// connected reports whether the service is logged in at prosody.
func connected(account string) bool {
	c, err := net.DialTimeout("tcp", "xmpp.meet.jitsi:5222", 5*time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	fmt.Fprintf(c, "%s %s\n", account, os.Getenv(passwords[account]))
	answer, err := bufio.NewReader(c).ReadString('\n')
	return err == nil && answer == "ok\n"
}

// rest serves what the REST interface of a service answers.
func rest(port string, pages map[string]func() int) error {
	for path, status := range pages {
		http.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status()) })
	}
	return http.ListenAndServe(":"+port, nil)
}

func whenConnected(account string) func() int {
	return func() int {
		if connected(account) {
			return http.StatusOK
		}
		return http.StatusInternalServerError
	}
}

func meetingFocus() error {
	if os.Getenv("JICOFO_ENABLE_HEALTH_CHECKS") == "" || os.Getenv("JICOFO_ENABLE_REST") == "" {
		return errors.New("the REST interface is off")
	}
	return rest("8888", map[string]func() int{"/about/health": whenConnected("jicofo")})
}

func meetingBridge() error {
	return rest("8080", map[string]func() int{"/about/health": whenConnected("jvb")})
}

// meetingGateway answers as Jigasi does: its health is an error without the address
// that it would call, and 503 while the exchange has not registered it, which it
// never does here.
func meetingGateway() error {
	if err := checkWritable("/tmp"); err != nil {
		return err
	}
	if entries, err := filepath.Glob("/tmp/transcripts"); err == nil && len(entries) == 0 {
		return errors.New("/tmp/transcripts is missing")
	}
	return rest("8788", map[string]func() int{
		"/about/stats": func() int { return http.StatusOK },
		"/about/health": func() int {
			if os.Getenv("JIGASI_HEALTH_CHECK_SIP_URI") == "" {
				fmt.Fprintln(os.Stderr, "SEVERE: GW not ready")
				return http.StatusInternalServerError
			}
			return http.StatusServiceUnavailable
		},
	})
}
