package docs_test

import (
	"strings"
	"testing"

	"github.com/sae-agent/sae-agent/agent/problem"
	"github.com/sae-agent/sae-agent/docs"
)

func TestRunbook(t *testing.T) {
	for _, k := range problem.Kinds() {
		text, url := docs.Runbook(string(k.ID))
		if len(text) < 10 || strings.HasPrefix(text, "As Sae") || strings.Contains(text, "###") || !strings.HasPrefix(url, docs.RunbooksURL+"#") {
			t.Errorf("%s: %q, %s", k.ID, text, url)
		}
	}
	if text, url := docs.Runbook("disk-full"); !strings.HasSuffix(url, "#saedisknearlyfull") || !strings.Contains(text, "Make room") {
		t.Errorf("the section is not followed: %q, %s", text, url)
	}
	if text, url := docs.Runbook("never heard of"); text != "" || url != "" {
		t.Errorf("%q, %s", text, url)
	}
}
