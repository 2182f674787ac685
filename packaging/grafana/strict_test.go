package grafana

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Readers that take nothing but what Grafana's schema has read the dashboards too.
func TestDashboardsAreStrict(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	files, err := filepath.Glob("dashboards/*.json")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d dashboards, %v", len(files), err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		//lint:ignore SA1019 files that Grafana 8 to 12 provisions have this schema; its successor is for the API of later ones
		var d dashboard.Dashboard
		if err := d.UnmarshalJSONStrict(data); !isNothing(err) {
			t.Errorf("%s: %v", f, err)
		}
		if err := d.Validate(); !isNothing(err) {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// isNothing reports whether err says nothing: the library also returns empty lists of
// errors.
func isNothing(err error) bool {
	var list cog.BuildErrors
	return err == nil || errors.As(err, &list) && len(list) == 0
}
