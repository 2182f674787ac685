package stacks

import (
	"errors"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/stacks/kind"
)

// Images are reckoned before the first of them is fetched.
func TestRoomForImages(t *testing.T) {
	_, st, _ := playedCloud(t)
	p, err := st.render(st.images())
	if err != nil {
		t.Fatal(err)
	}
	missing := []kind.Image{{SizeMB: 40_000_000}, {SizeMB: 2_000_000}}
	var said *Problem
	if err := st.room(t.Context(), p, missing); !errors.As(err, &said) || said.Code != DiskFull || !strings.Contains(said.What, "42000536 MB are needed") {
		t.Errorf("room() = %v", err)
	}
	if err := st.room(t.Context(), p, nil); err != nil {
		t.Errorf("room() for none: %v", err)
	}
}
