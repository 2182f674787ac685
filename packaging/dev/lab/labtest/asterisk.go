package labtest

import (
	"os"
	"path/filepath"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/asterisk"
)

// Asterisk is an asterisk.Server that belongs to one test.
type Asterisk struct {
	*asterisk.Server
	host *Host
}

// Asterisk starts a real Asterisk 22 on the host and returns when it is fully booted. Its /etc/asterisk is Debian's,
// with the files given in place of those of the same name. See packaging/dev/lab/asterisk for what is where.
func (h *Host) Asterisk(files map[string]string) *Asterisk {
	h.t.Helper()
	a := h.InstallAsterisk(files)
	a.Start()
	return a
}

// InstallAsterisk does the same without starting it.
func (h *Host) InstallAsterisk(files map[string]string) *Asterisk {
	h.t.Helper()
	root, err := asterisk.Root()
	must(h.t, err)
	s, err := asterisk.Install(h.t.Context(), h.Host, root, h.t.TempDir())
	must(h.t, err)
	for name, content := range files {
		must(h.t, os.WriteFile(filepath.Join(s.Etc(), name), []byte(content), 0o644))
	}
	h.t.Cleanup(func() {
		if h.t.Failed() {
			h.t.Logf("output of asterisk on %s:\n%s", h.Name(), s.Output())
		}
	})
	return &Asterisk{s, h}
}

// Start starts it, and returns when it is fully booted.
func (a *Asterisk) Start() {
	a.host.t.Helper()
	must(a.host.t, a.Server.Start(a.host.t.Context()))
}

// Kill ends it with SIGKILL.
func (a *Asterisk) Kill() {
	a.host.t.Helper()
	must(a.host.t, a.Server.Kill())
}

// CLI runs a command of Asterisk's console and returns what it prints.
func (a *Asterisk) CLI(command string) string {
	a.host.t.Helper()
	out, err := a.Server.CLI(a.host.t.Context(), command)
	must(a.host.t, err)
	return out
}
