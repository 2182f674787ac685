package config

import (
	"strings"
	"testing"
)

func TestParseLanguage(t *testing.T) {
	for text, want := range map[string]string{
		"fr": "fr", "FR": "fr", "fr-CA": "fr-CA", "fr_FR.UTF-8": "fr", "fr-FR": "fr-FR", "en_GB.UTF-8": "en-GB", "en_US": "en", "pt-br": "pt-BR", "français": "fr", "francais": "fr", "Français": "fr",
		"French": "fr", "french": "fr", "German": "de", "Deutsch": "de", "English": "en", "Norwegian": "no", "Czech": "cs", "Ελληνικά": "el",
		"日本語": "ja", "French_CA": "fr-CA", "Spanish_LA": "es-419", "Portuguese_LA": "pt-BR", "Chinese_S": "zh-Hans", "Chinese_T": "zh-Hant",
		"Swahili": "sw", "Klingon": "Klingon", "Klingon_X": "Klingon_X",
	} {
		if got, err := ParseLanguage(text); string(got) != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
		if again, err := ParseLanguage(want); string(again) != want || err != nil {
			t.Errorf("%q is not read again: %q, %v", want, again, err)
		}
	}
	for text, want := range map[string]string{"frensh": "did you mean fr (French)?", "": "such as fr", "fr fr": "such as fr", "C": "such as fr", "POSIX": "such as fr", "C.UTF-8": "such as fr"} {
		if got, err := ParseLanguage(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
}
