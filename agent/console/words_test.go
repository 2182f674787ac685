package console

import (
	"io/fs"
	"regexp"
	"testing"

	"github.com/sae-agent/sae-agent/agent/control"
)

// usedWords lists the words of the templates and of the navigation.
func usedWords(t *testing.T) map[string]bool {
	t.Helper()
	used := make(map[string]bool)
	files, err := fs.Glob(sources, "templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	calls := regexp.MustCompile(`\bt "([^"]+)"|\bform "[a-zA-Z]+" "([^"]+)"`)
	for _, file := range files {
		data, err := fs.ReadFile(sources, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range calls.FindAllStringSubmatch(string(data), -1) {
			used[m[1]+m[2]] = true
		}
	}
	for _, r := range remedies() {
		used[r.label] = true
	}
	for _, l := range places() {
		used[l.Title] = true
	}
	for _, p := range allPages {
		if p.title != "" {
			used[p.title] = true
		}
	}
	for _, op := range callsByID() {
		if op.Order != "" { // said once it is done
			used[op.Order] = true
		}
	}
	for _, word := range []string{"never", "%d s ago", "%d min ago", "%d h ago", "%d days ago", string(control.Viewer), string(control.Operator), string(control.Admin)} {
		used[word] = true
	}
	return used
}
