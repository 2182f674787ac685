package kind

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Image is where a service's program comes from.
type Image struct {
	Repository string `json:"repository"` // such as ghcr.io/jitsi/web
	Tag        string `json:"tag"`
	// Digest fixes what the tag meant when it was first fetched; empty until then.
	Digest string `json:"digest,omitempty"`
	// Size on disk, about, in MB. Only for pinned images.
	SizeMB int64 `json:"size_mb,omitempty"`
	// QuietDays is how long a line of releases may go without a new one before
	// somebody should ask whether it has ended. Only for pinned images; 0: never.
	QuietDays int `json:"quiet_days,omitempty"`
	// Series keeps the service in its series of releases, such as 11.4. Only for
	// pinned images.
	Series bool `json:"series,omitempty"`
	// Release services of a stack have the same tags. Only for pinned images.
	Release bool `json:"release,omitempty"`
}

// Quiet is QuietDays.
func (i Image) Quiet() time.Duration { return time.Duration(i.QuietDays) * 24 * time.Hour }

// Ref is the image's name as Docker has it.
func (i Image) Ref() string {
	ref := i.Repository + ":" + i.Tag
	if i.Digest != "" {
		ref += "@" + i.Digest
	}
	return ref
}

// Path is the repository without its registry.
func (i Image) Path() string {
	_, path, _ := strings.Cut(i.Repository, "/")
	return path
}

// At returns the image in another registry, host or host:port with an optional
// path; an empty one leaves the image's own.
func (i Image) At(registry string) Image {
	if registry != "" {
		i.Repository = strings.TrimSuffix(registry, "/") + "/" + i.Path()
	}
	return i
}

// Bare is the image without what is only known of pinned ones.
func (i Image) Bare() Image {
	return Image{Repository: i.Repository, Tag: i.Tag, Digest: i.Digest}
}

// ParseImages reads a list of pinned images, by service.
func ParseImages(list []byte) (map[string]Image, error) {
	out := make(map[string]Image)
	if err := json.Unmarshal(list, &out); err != nil {
		return nil, fmt.Errorf("kind: list of images: %w", err)
	}
	return out, nil
}

// Need returns an error when one of the services has no image.
func Need(images map[string]Image, services ...string) error {
	for _, s := range services {
		if images[s].Repository == "" {
			return fmt.Errorf("kind: no image for %s", s)
		}
	}
	return nil
}
