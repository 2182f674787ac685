package control

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Group is the system group whose members may open the socket, besides root.
const Group = "sae-agent"

const shutdownTime = 2 * time.Second

// Server answers the operator's commands.
type Server struct {
	dir        string
	dispatcher *Dispatcher
}

// NewServer returns a server whose socket will be in dir, which must exist.
func NewServer(dir string, d *Dispatcher) *Server { return &Server{dir: dir, dispatcher: d} }

// peerKey has the caller's credentials in a request's context.
type peerKey struct{}

// CallerPID returns the process that asks, as the kernel knows it; 0 when it is not known.
func CallerPID(ctx context.Context) int {
	if cred, ok := ctx.Value(peerKey{}).(*unix.Ucred); ok {
		return int(cred.Pid)
	}
	return 0
}

// Run serves until ctx ends. It fails at once when another daemon answers on the socket.
func (s *Server) Run(ctx context.Context) error {
	l, err := listen(filepath.Join(s.dir, SocketName))
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	srv := &http.Server{
		Handler:           s.dispatcher.Routes(Prefix, caller),
		ReadHeaderTimeout: 5 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peer(c))
		},
	}
	var closing sync.WaitGroup
	closing.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer closing.Done()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		if srv.Shutdown(bounded) != nil {
			_ = srv.Close() // a command that hangs must not hold up the daemon's end
		}
	})
	err = srv.Serve(l)
	if stop() {
		closing.Done() // it was not begun
	}
	closing.Wait()
	if !errors.Is(err, http.ErrServerClosed) {
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

// peer asks the kernel who is at the other end (unix(7), SO_PEERCRED). It returns uid -1
// when it does not say.
func peer(c net.Conn) *unix.Ucred {
	unknown := &unix.Ucred{Uid: math.MaxUint32}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return unknown
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return unknown
	}
	cred := unknown
	_ = raw.Control(func(fd uintptr) {
		if found, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			cred = found
		}
	})
	return cred
}

// caller tells who asks over the socket: whoever may open it is as good as root.
func caller(r *http.Request) (Caller, error) {
	uid := int32(-1)
	if cred, ok := r.Context().Value(peerKey{}).(*unix.Ucred); ok {
		uid = int32(cred.Uid)
	}
	return Caller{Name: fmt.Sprintf("uid %d", uid), Role: Admin, uid: &uid}, nil
}
