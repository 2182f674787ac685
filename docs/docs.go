// Package docs gives programs what the pages for people say of problems.
package docs

import (
	_ "embed"
	"regexp"
	"strings"
)

// RunbooksURL is where the runbooks are for a browser.
const RunbooksURL = "https://github.com/sae-agent/sae-agent/blob/main/docs/runbooks.md"

//go:embed runbooks.md
var runbooks string

// Runbook returns what docs/runbooks.md says about a kind of problem, with the section that it leads to, and the
// address of that; empty for a kind that it does not have.
func Runbook(id string) (text, url string) {
	_, row, ok := strings.Cut(runbooks, "\n| `"+id+"` | ")
	if !ok {
		return "", ""
	}
	text, _, _ = strings.Cut(row, " |\n")
	url = RunbooksURL + "#problems"
	m := regexp.MustCompile(`^As (Sae\w+)[:.]`).FindStringSubmatch(text)
	if m == nil {
		return text, url
	}
	_, section, ok := strings.Cut(runbooks, "\n### "+m[1]+"\n")
	if !ok {
		return text, url
	}
	section, _, _ = strings.Cut(section, "\n#")
	if rest := strings.TrimSpace(text[len(m[0]):]); rest != "" {
		section += "\n" + rest
	}
	return strings.TrimSpace(section), RunbooksURL + "#" + strings.ToLower(m[1])
}
