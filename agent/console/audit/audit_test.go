package audit

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/control"
)

func TestLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console", "orders.jsonl")
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	add := func(o control.Order) {
		t.Helper()
		if err := l.Add(o); err != nil {
			t.Fatal(err)
		}
	}
	for i := range kept + 10 {
		add(control.Order{By: "alice", About: strconv.Itoa(i)})
	}
	if list := l.List(); len(list) != kept || list[0].About != strconv.Itoa(kept+9) {
		t.Errorf("%d orders, the newest about %s", len(list), list[0].About)
	}
	// A power cut leaves half a line; a large change is noted without its values.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteString(`{"by": "al` + "\n")
	f.Close()
	add(control.Order{By: "bob", Changes: []control.Change{{New: strings.Repeat("x", maxLine)}}})
	l.size = maxFile + 1
	add(control.Order{By: "carol"})
	if l.size > maxFile {
		t.Errorf("the file stays at %d bytes", l.size)
	}
	if l, err = Open(path); err != nil {
		t.Fatal(err)
	}
	if list := l.List(); len(list) != kept || list[0].By != "carol" || list[1].By != "bob" {
		t.Errorf("%d orders: %+v, %+v", len(list), list[0], list[1])
	}
}
