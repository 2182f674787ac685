package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Group is the system group whose members may open the socket, besides root.
const Group = "sae-agent"

const (
	maxBody      = 1 << 16
	shutdownTime = 2 * time.Second
)

// Server answers the operator's commands.
type Server struct {
	dir     string
	backend Backend
	log     *slog.Logger
}

// NewServer returns a server whose socket will be in dir, which must exist.
func NewServer(dir string, b Backend, log *slog.Logger) *Server {
	return &Server{dir: dir, backend: b, log: log}
}

type peerKey struct{}

// Run serves until ctx ends. It fails at once when another daemon answers on the socket.
func (s *Server) Run(ctx context.Context) error {
	l, err := listen(filepath.Join(s.dir, SocketName))
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	srv := &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 5 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peerUID(c))
		},
	}
	stopped := context.AfterFunc(ctx, func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		if srv.Shutdown(bounded) != nil {
			_ = srv.Close() // a command that hangs must not hold up the daemon's end
		}
	})
	defer stopped()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control: %w", err)
	}
	return nil
}

// listen opens the socket, in the place of one that a dead daemon left behind.
func listen(path string) (net.Listener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("another sae-agent answers on %s: stop it first, or use another --runtime-dir", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the old socket: %w", err)
	}
	// Bound under another name and moved into place, so that no one can connect
	// before the mode is right.
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // the next daemon removes it; unlinking here could remove the next one's
	if err := errors.Join(restrict(tmp), os.Rename(tmp, path)); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// restrict lets root and, where it exists, the group open the socket.
func restrict(path string) error {
	g, err := user.LookupGroup(Group)
	if err != nil {
		return os.Chmod(path, 0o600)
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return err
	}
	if err := os.Chown(path, -1, gid); err != nil {
		return err
	}
	return os.Chmod(path, 0o660)
}

// peerUID asks the kernel who is at the other end (unix(7), SO_PEERCRED); -1 when it does not say.
func peerUID(c net.Conn) int {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return -1
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return -1
	}
	uid := -1
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			uid = int(cred.Uid)
		}
	})
	return uid
}

func (s *Server) routes() http.Handler {
	b := s.backend
	mux := http.NewServeMux()
	mux.Handle("GET /v1/status", ask(b.Status))
	mux.Handle("GET /v1/plan", ask(b.Plan))
	mux.Handle("GET /v1/leases", ask(b.Leases))
	mux.Handle("GET /v1/phones", ask(b.Phones))
	mux.Handle("GET /v1/phones/{mac}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := b.Phone(r.Context(), r.PathValue("mac"))
		reply(w, p, err)
	}))
	s.pbxRoutes(mux)
	mux.Handle("GET /v1/history", ask(b.History))
	s.logRoutes(mux)
	mux.Handle("POST /v1/apply", s.change("apply", with(func(r *http.Request, o ApplyOptions) (any, error) {
		return b.Apply(r.Context(), o)
	})))
	mux.Handle("POST /v1/confirm", s.change("confirm", func(r *http.Request) (any, error) {
		return nil, b.Confirm(r.Context())
	}))
	mux.Handle("POST /v1/rollback", s.change("rollback", with(func(r *http.Request, o RollbackOptions) (any, error) {
		return b.Rollback(r.Context(), o)
	})))
	mux.Handle("POST /v1/phones/{mac}/approve", s.change("approve phone", with(func(r *http.Request, a Approval) (any, error) {
		return nil, b.ApprovePhone(r.Context(), r.PathValue("mac"), a)
	})))
	mux.Handle("POST /v1/phones/{mac}/forget", s.change("forget phone", func(r *http.Request) (any, error) {
		return nil, b.ForgetPhone(r.Context(), r.PathValue("mac"))
	}))
	mux.Handle("POST /v1/phones/{mac}/rearm", s.change("rearm phone", func(r *http.Request) (any, error) {
		return nil, b.RearmPhone(r.Context(), r.PathValue("mac"))
	}))
	mux.Handle("POST /v1/softphones/{extension}/link", s.change("softphone link", func(r *http.Request) (any, error) {
		return b.SoftphoneLink(r.Context(), r.PathValue("extension"))
	}))
	s.verifyRoutes(mux)
	s.backupRoutes(mux)
	s.firewallRoutes(mux)
	s.stackRoutes(mux)
	return mux
}

// ask answers a question that changes nothing.
func ask[T any](answer func(context.Context) (T, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := answer(r.Context())
		reply(w, v, err)
	})
}

// with decodes what an order says.
func with[T any](do func(*http.Request, T) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		var v T
		if err := json.NewDecoder(r.Body).Decode(&v); err != nil {
			return nil, &Error{Code: http.StatusBadRequest, Message: "the request is not valid JSON: " + err.Error()}
		}
		return do(r, v)
	}
}

// change carries out an order and logs who gave it.
func (s *Server) change(what string, do func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		v, err := do(r)
		uid, _ := r.Context().Value(peerKey{}).(int)
		l := s.log.With("order", what, "uid", uid)
		if mac := r.PathValue("mac"); mac != "" {
			l = l.With("mac", mac)
		}
		if err != nil {
			l.Warn("operator's order failed", "err", err)
		} else {
			l.Info("operator's order carried out")
		}
		reply(w, v, err)
	})
}

func reply(w http.ResponseWriter, v any, err error) {
	code := http.StatusOK
	if err != nil {
		e := &Error{Code: http.StatusInternalServerError, Message: err.Error()}
		errors.As(err, &e)
		code, v = e.Code, e
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the peer may have gone; nobody to tell
}
