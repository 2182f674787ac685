package dockertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// Transport reaches what a host of a lab reaches.
func Transport(h *labtest.Host) *http.Transport {
	return &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		failed := h.Host.Do(func() error {
			c, err = new(net.Dialer).DialContext(ctx, network, addr)
			return nil
		})
		return c, errors.Join(failed, err)
	}}
}

// descriptor names a part of an image.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size"`
	Digest    string `json:"digest"`
}

// What the registry and Docker's daemon call an image's parts. The daemon looks by itself
// whether a layer is compressed; here none is, which takes a processor's time to make.
const (
	manifestType = "application/vnd.docker.distribution.manifest.v2+json"
	configType   = "application/vnd.docker.container.image.v1+json"
	layerType    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// Push makes an image and puts it into the registry. Docker has no part in it: its own
// import and push unpack, pack and compress all files each time.
func (e *Engine) Push(r Role) {
	e.t.Helper()
	c := &http.Client{Transport: Transport(e.Host)}
	if err := push(c, r, filepath.Join(Build(e.t), "_images", r.Files)); err != nil {
		e.t.Fatalf("push %s:%s: %v", r.Repository, r.Tag, err)
	}
}

func push(c *http.Client, r Role, files string) error {
	f, err := os.Open(files)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return err
	}
	layer := descriptor{layerType, size, "sha256:" + hex.EncodeToString(sum.Sum(nil))}
	config, err := r.config(layer.Digest)
	if err != nil {
		return err
	}
	image := descriptor{configType, int64(len(config)), digest(config)}
	manifest, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": manifestType, "config": image, "layers": []descriptor{layer}})
	if err != nil {
		return err
	}
	repository := "http://" + Registry + "/v2/" + r.Repository
	if err := upload(c, repository, layer, io.NewSectionReader(f, 0, size)); err != nil {
		return err
	}
	if err := upload(c, repository, image, bytes.NewReader(config)); err != nil {
		return err
	}
	_, err = ask(c, http.MethodPut, repository+"/manifests/"+r.Tag, manifestType, bytes.NewReader(manifest), int64(len(manifest)))
	return err
}

// config is what the image says of itself.
func (r Role) config(layer string) ([]byte, error) {
	var command []string
	if err := json.Unmarshal([]byte(r.Command), &command); err != nil {
		return nil, fmt.Errorf("command %s: %w", r.Command, err)
	}
	volumes := make(map[string]struct{})
	for _, v := range r.Volumes {
		volumes[v] = struct{}{}
	}
	return json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{"Entrypoint": command, "Env": r.Env, "User": r.User, "Volumes": volumes},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{layer}},
	})
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// upload puts a part into a repository, unless it is there.
func upload(c *http.Client, repository string, d descriptor, content io.Reader) error {
	if _, err := ask(c, http.MethodHead, repository+"/blobs/"+d.Digest, "", nil, 0); err == nil {
		return nil
	}
	at, err := ask(c, http.MethodPost, repository+"/blobs/uploads/", "", nil, 0)
	if err != nil {
		return err
	}
	query := at.Query()
	query.Set("digest", d.Digest)
	at.RawQuery = query.Encode()
	_, err = ask(c, http.MethodPut, at.String(), "application/octet-stream", content, d.Size)
	return err
}

// ask makes a request that must succeed, and returns where the answer says to go on.
func ask(c *http.Client, method, target, kind string, body io.Reader, size int64) (*url.URL, error) {
	req, err := http.NewRequest(method, target, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = size
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(resp.Body) // only for the error
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, target, resp.Status, strings.TrimSpace(string(said)))
	}
	return req.URL.Parse(resp.Header.Get("Location"))
}
