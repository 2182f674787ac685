package console

import (
	"testing"

	"github.com/sae-agent/sae-agent/agent/translate"
)

// A daemon whose pages nobody asks for has none in its memory; but all of them are sound.
func TestWorkOfPagesThatNobodyAsksFor(t *testing.T) {
	const few = 1000
	allocs := testing.AllocsPerRun(5, func() {
		if _, err := newPages(); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%.0f allocations", allocs)
	if allocs > few {
		t.Errorf("%.0f allocations before anybody asks", allocs)
	}
	p, err := newPages()
	if err != nil {
		t.Fatal(err)
	}
	for _, lang := range translate.Languages() {
		if _, err := p.template(lang, "overview"); err != nil {
			t.Errorf("%s: %v", lang, err)
		}
		if _, err := p.template(lang, "nothing"); err == nil {
			t.Errorf("%s: a page that there is not", lang)
		}
	}
	if !p.has("overview") || p.has("nothing") {
		t.Error("which templates there are")
	}
}
