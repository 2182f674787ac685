package project

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
)

//go:embed images.json
var pinned []byte

// Image is where a service's program comes from.
type Image struct {
	Repository string `json:"repository"` // such as ghcr.io/jitsi/web
	Tag        string `json:"tag"`
	// Digest fixes what the tag meant when it was first fetched; empty until then.
	Digest string `json:"digest,omitempty"`
	// Size on disk, about, in MB. Only for pinned images.
	SizeMB int64 `json:"size_mb,omitempty"`
}

// Ref is the image's name as Docker has it.
func (i Image) Ref() string {
	ref := i.Repository + ":" + i.Tag
	if i.Digest != "" {
		ref += "@" + i.Digest
	}
	return ref
}

// At returns the image in another registry, host or host:port with an optional
// path; an empty one leaves the image's own.
func (i Image) At(registry string) Image {
	if registry != "" {
		_, name, _ := strings.Cut(i.Repository, "/")
		i.Repository = strings.TrimSuffix(registry, "/") + "/" + name
	}
	return i
}

// Images are the images of each stack's services.
type Images map[string]map[string]Image

// Pinned returns the images that this version of sae-agent was made for.
func Pinned() Images {
	var list []struct {
		Stack, Service string
		Image
	}
	if err := json.Unmarshal(pinned, &list); err != nil {
		panic(fmt.Sprintf("images.json: %v", err)) // embedded, and tested
	}
	out := make(Images)
	for _, e := range list {
		if out[e.Stack] == nil {
			out[e.Stack] = make(map[string]Image)
		}
		out[e.Stack][e.Service] = e.Image
	}
	return out
}

// get returns the images of a stack's services, all of which must be there.
func (m Images) get(stack string, services ...string) (map[string]Image, error) {
	for _, s := range services {
		if m[stack][s].Repository == "" {
			return nil, fmt.Errorf("project: no image for %s of %s", s, stack)
		}
	}
	return m[stack], nil
}
