package sshd

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sae-agent/sae-agent/internal/sockets"
)

// Connection is an open connection to this machine's SSH server.
type Connection struct {
	Peer  netip.Addr     // who is at the other end
	Local netip.AddrPort // the address and port that it came to
}

// maxAncestors bounds the way from a process to the first one.
const maxAncestors = 64

// Sessions returns the connections of those who are logged in over the network.
//
// Whoever can reach the SSH server can hold a connection open without a login, so a
// connection counts when somebody is logged in from its other end. A login without a
// terminal is noted nowhere on a machine without systemd-logind: where a caller, the
// process pid, descends from the SSH server and no connection is known to be its own,
// each of them may be. A pid of 0 is nobody.
func Sessions(root string, pid int) ([]Connection, error) {
	all, err := connections(root, Ports(root))
	if err != nil {
		return nil, err
	}
	operators := Operators(root)
	var known []Connection
	for _, c := range all {
		if slices.Contains(operators, c.Peer) {
			known = append(known, c)
		}
	}
	if pid == 0 || !belowServer(root, pid) {
		return known, nil
	}
	own, ok := ownLogin(root, pid)
	if ok && slices.ContainsFunc(known, func(c Connection) bool { return c.Peer == own }) {
		return known, nil
	}
	return all, nil
}

// connections are the open ones to some ports, without those of this machine to itself.
func connections(root string, ports []uint16) (out []Connection, err error) {
	all, err := sockets.Read(filepath.Join(root, "proc"))
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		peer := s.Remote.Addr()
		if s.Protocol != "tcp" || s.State != sockets.Established || !slices.Contains(ports, s.Local.Port()) || peer.IsLoopback() || peer == s.Local.Addr() {
			continue
		}
		if c := (Connection{peer, s.Local}); !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out, nil
}

// belowServer reports whether a process descends from the SSH server.
func belowServer(root string, pid int) bool {
	for range maxAncestors {
		name, parent := status(root, pid)
		if strings.HasPrefix(name, "sshd") { // OpenSSH 9.8 calls a session sshd-session
			return true
		}
		if parent <= 0 {
			return false
		}
		pid = parent
	}
	return false
}

// status reads name and parent of a process (proc(5)); no parent: the process is gone.
func status(root string, pid int) (name string, parent int) {
	data, _ := os.ReadFile(filepath.Join(root, "proc", strconv.Itoa(pid), "status"))
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		switch key {
		case "Name":
			name = value
		case "PPid":
			parent, _ = strconv.Atoi(value)
		}
	}
	return name, parent
}

// ownLogin returns where the login of a process comes from, by its control group, which
// only root can choose. ok is false where systemd-logind does not know.
func ownLogin(root string, pid int) (from netip.Addr, ok bool) {
	data, _ := os.ReadFile(filepath.Join(root, "proc", strconv.Itoa(pid), "cgroup"))
	for part := range strings.FieldsFuncSeq(string(data), func(r rune) bool { return r == '/' || r == '\n' }) {
		id, ok := strings.CutPrefix(part, "session-")
		if !ok {
			continue
		}
		session, err := os.ReadFile(filepath.Join(root, "run/systemd/sessions", strings.TrimSuffix(id, ".scope")))
		if err != nil {
			return netip.Addr{}, false
		}
		return parseSession(string(session))
	}
	return netip.Addr{}, false
}
