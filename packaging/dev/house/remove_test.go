package house

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// With the folder of a part that no other needs, and its line in the list, removed,
// everything else still builds.
func TestAPartCanBeRemoved(t *testing.T) {
	const part = "qos"
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	wiring := filepath.Join(top, "agent", "wiring.go")
	text, err := os.ReadFile(wiring)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	removed := 0
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "/agent/parts/"+part+`"`) || strings.Contains(line, part+".New(") {
			removed++
			continue
		}
		kept = append(kept, line)
	}
	if removed != 2 {
		t.Fatalf("%s is in %d lines of %s, want its import and its line in the list", part, removed, wiring)
	}
	edited := filepath.Join(t.TempDir(), "wiring.go")
	if err := os.WriteFile(edited, []byte(strings.Join(kept, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{wiring: edited}
	files, err := filepath.Glob(filepath.Join(top, "agent", "parts", part, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		replace[f] = "" // as if it were not there
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", list, "./agent/...", "./cmd/...")
	cmd.Dir = top
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
