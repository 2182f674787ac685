package sim

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"strings"
)

// commonBoot is the boot file for every phone.
const commonBoot = "y000000000000.boot"

// source is where option 66 says that the files are.
type source struct {
	url      *url.URL
	resolved netip.Addr // of its host
}

// parseSource reads option 66: the name or address of a TFTP server, or a URL.
func parseSource(option66 string) (*url.URL, error) {
	text := option66
	if !strings.Contains(text, "://") {
		text = "tftp://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return nil, fmt.Errorf("option 66 is %q, neither a server nor a URL", option66)
	}
	switch u.Scheme {
	case "tftp", "http", "https":
		return u, nil
	}
	return nil, fmt.Errorf("option 66 is %q: only tftp, http and https are simulated", option66)
}

// fetchAll asks for the phone's files in their order and gathers their settings.
// Only <mac>.cfg must be there. A phone that finds a boot file asks for what that
// includes, and for nothing else.
func (h *handset) fetchAll(ctx context.Context, option66 string) error {
	u, err := parseSource(option66)
	if err != nil {
		return err
	}
	h.source = source{url: u}
	if h.source.resolved, err = h.lookup(ctx, u.Hostname()); err != nil {
		return fmt.Errorf("option 66: %w", err)
	}
	id := hex.EncodeToString(h.phone.MAC)
	for _, name := range []string{id + ".boot", commonBoot} {
		data, found, err := h.fetch(ctx, name)
		if err != nil {
			return err
		}
		if found {
			return h.fetchConfigs(ctx, name, parseBoot(data, h.phone.Model))
		}
	}
	names := []string{id + ".cfg"}
	if common, ok := commonFile(h.phone.Model); ok {
		names = []string{common, id + ".cfg"}
	}
	return h.fetchConfigs(ctx, id+".cfg", names)
}

// fetchConfigs reads configuration files; a later one overrules those before. It
// fails if the last is missing, or if there is none, for which the blame is given.
func (h *handset) fetchConfigs(ctx context.Context, blame string, names []string) error {
	found := false
	for _, name := range names {
		var data []byte
		var err error
		if data, found, err = h.fetch(ctx, name); err != nil {
			return err
		}
		if !found {
			continue
		}
		s, err := parseSettings(data)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		maps.Copy(h.settings, s)
	}
	switch {
	case len(names) == 0:
		return fmt.Errorf("%s exists but includes no file: a phone that finds a boot file asks for nothing else", blame)
	case !found:
		files := h.now.Load().Files
		return fmt.Errorf("no %s: %s", names[len(names)-1], files[len(files)-1].Error)
	}
	return nil
}

// fetch gets one file. found is false if the server refuses it.
func (h *handset) fetch(ctx context.Context, name string) (data []byte, found bool, err error) {
	data, err = h.transfer(ctx, name)
	h.update(func(r *Result) {
		f := File{Name: name, Bytes: len(data)}
		if err != nil {
			f.Error = err.Error()
		}
		r.Files = append(r.Files, f)
	})
	var refused *refusal
	if errors.As(err, &refused) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", name, err)
	}
	return data, true, nil
}

func (h *handset) transfer(ctx context.Context, name string) ([]byte, error) {
	u := h.source.url.JoinPath(name)
	if strings.Contains(name, "://") {
		return nil, &refusal{"a URL, which is not simulated"}
	}
	if u.Scheme == "tftp" {
		server := netip.AddrPortFrom(h.source.resolved, portOf(u, tftpPort))
		return h.host.tftp(ctx, server, h.nextPort(), strings.TrimLeft(u.Path, "/"))
	}
	w, err := h.network()
	if err != nil {
		return nil, err
	}
	return w.get(ctx, u.String(), h.userAgent())
}
