package web

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

func (c *Server) health(w http.ResponseWriter, _ *http.Request) {
	wrong := c.src.Health()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if len(wrong) == 0 {
		_, _ = w.Write([]byte("ok\n"))
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(strings.Join(wrong, "\n") + "\n"))
}

func (c *Server) phonebook(w http.ResponseWriter, _ *http.Request) {
	send(w, "text/xml; charset=utf-8", c.src.Phonebook())
}

func (c *Server) softphone(w http.ResponseWriter, r *http.Request) {
	data, err := c.src.Softphone(r.PathValue("token"))
	if err != nil {
		fail(w, err)
		return
	}
	send(w, "application/xml; charset=utf-8", data)
}

func (c *Server) file(w http.ResponseWriter, r *http.Request) {
	from, _ := clientAddr(r) // checked by onlyFrom
	station, _ := r.Context().Value(stationKey{}).(net.HardwareAddr)
	f, size, err := c.src.File(r.Context(), Request{
		Client:    from,
		Station:   station,
		Name:      r.PathValue("file"),
		UserAgent: r.UserAgent(),
	})
	if err != nil {
		fail(w, err)
		return
	}
	defer f.Close()
	header(w, "application/octet-stream", size)
	_, _ = io.Copy(impatient{w, http.NewResponseController(w)}, f) // a short body tells the client; nobody else to tell
}

// impatient gives a client up that takes nothing for a while: it would hold its connection and a file, as often as it
// likes. A slow one has all the time that it needs.
type impatient struct {
	io.Writer
	conn *http.ResponseController
}

func (i impatient) Write(p []byte) (int, error) {
	_ = i.conn.SetWriteDeadline(time.Now().Add(idleTime)) // fails in tests without a connection only
	return i.Writer.Write(p)
}

func send(w http.ResponseWriter, contentType string, data []byte) {
	header(w, contentType, int64(len(data)))
	_, _ = w.Write(data) // the client may have gone; nobody to tell
}

func header(w http.ResponseWriter, contentType string, size int64) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.FormatInt(size, 10))
	h.Set("Cache-Control", "no-store") // it may hold a password
}

// fail answers with the status of err and says no more than that: why a phone
// was refused is for the log, not for whoever asked.
func fail(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		code = http.StatusNotFound
	case errors.Is(err, fs.ErrPermission):
		code = http.StatusForbidden
	case errors.Is(err, context.Canceled):
		code = http.StatusServiceUnavailable
	}
	http.Error(w, http.StatusText(code), code)
}
