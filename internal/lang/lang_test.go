package lang

import "testing"

func TestOf(t *testing.T) {
	program := Names{{"en", "English"}, {"fr", "French"}, {"fr-CA", "French (Canada)"}, {"pt", "Portuguese"}, {"pt-BR", "Brazilian"}, {"es", "Spanish"}, {"es-419", "Latin"}, {"no", "Norwegian"}, {"zh-Hans", "Simplified"}, {"zh-Hant", "Traditional"}, {"sv", "Swedish"}}
	for tag, want := range map[string]string{
		"en": "English", "en-GB": "English", "fr": "French", "fr-FR": "French", "fr-BE": "French", "fr-CA": "French (Canada)",
		"pt-PT": "Portuguese", "pt-BR": "Brazilian", "es-ES": "Spanish", "es-MX": "Latin", "nb": "Norwegian", "no": "Norwegian",
		"zh-CN": "Simplified", "zh-TW": "Traditional", "fi": "", "eu": "", "sw": "", "de": "", "xx-yy-zz": "", "": "", "not a tag": "",
	} {
		if got, ok := program.Of(tag); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v; want %q", tag, got, ok, want)
		}
	}
	for _, l := range program {
		if got, _ := program.Of(l.Tag); got != l.Name {
			t.Errorf("%q: %q, want %q", l.Tag, got, l.Name)
		}
		if got, _ := program.closest(l.Tag); got != l.Name {
			t.Errorf("closest to %q: %q, want %q", l.Tag, got, l.Name)
		}
		if got, _ := program.Tag(l.Name); got != l.Tag {
			t.Errorf("%q: %q, want %q", l.Name, got, l.Tag)
		}
	}
	if _, ok := program.Tag("Klingon"); ok {
		t.Error("it speaks Klingon")
	}
}
