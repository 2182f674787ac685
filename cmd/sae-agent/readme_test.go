package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/sae-agent/sae-agent/agent/config"
)

const repository = "../.."

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReadmeSampleIsValid(t *testing.T) {
	sample := regexp.MustCompile("(?s)## Ten lines\n\n```yaml\n(.*?)```").FindStringSubmatch(readme(t))
	if sample == nil {
		t.Fatal("README.md has no sample below its heading Ten lines")
	}
	if lines := strings.Count(sample[1], "\n"); lines != 10 {
		t.Errorf("the ten lines are %d", lines)
	}
	if !strings.Contains(sample[1], "wan_allow: [ssh]") {
		t.Error("whoever applies the sample over SSH from the WAN locks himself out")
	}
	_, warnings, err := config.Options{}.Parse("README.md", []byte(sample[1]))
	if err != nil || len(warnings) > 0 {
		t.Errorf("the sample: %v, warnings %v", err, warnings)
	}
}

func TestDocumentedCommandsExist(t *testing.T) {
	for _, page := range documents(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if unknown := unknownCommands(string(text)); len(unknown) > 0 {
			t.Errorf("%s names commands that sae-agent does not have: %q", page, unknown)
		}
	}
	if got := unknownCommands("`sae-agent fly` and `sae-agent phones list`, sudo sae-agent apply --soon\n"); len(got) != 2 {
		t.Errorf("found %q, want fly and --soon", got)
	}
}

// command is a command line of sae-agent: words, and flags with their values.
var command = regexp.MustCompile(`sae-agent((?: (?:--?)?[a-z][a-z-]*)+)`)

// unknownCommands returns the commands and flags that a text names and sae-agent lacks.
func unknownCommands(text string) (unknown []string) {
	code := regexp.MustCompile("`[^`\n]+`|(?m)^.*\\$ sudo sae-agent.*$|sudo sae-agent[^`\n]*")
	for _, span := range code.FindAllString(text, -1) {
		for _, match := range command.FindAllStringSubmatch(span, -1) {
			words := strings.Fields(match[1])
			if slices.Contains(verbs, words[0]) || strings.HasPrefix(span, "`go ") {
				continue
			}
			if !known(words) {
				unknown = append(unknown, strings.Join(words, " "))
			}
		}
	}
	return unknown
}

func known(words []string) bool {
	words = slices.DeleteFunc(words, func(w string) bool { return w == "sae-agent" })
	c, rest, err := newRootCommand().Find(words)
	if err != nil || c.Name() == "sae-agent" {
		return false
	}
	for _, w := range rest {
		if name, isFlag := strings.CutPrefix(w, "--"); isFlag && !hasFlag(c, name) {
			return false
		}
	}
	return true
}

func hasFlag(c *cobra.Command, name string) bool {
	return c.Flags().Lookup(name) != nil || c.InheritedFlags().Lookup(name) != nil
}

func TestReadmeLinksEveryDocument(t *testing.T) {
	text := readme(t)
	for _, link := range regexp.MustCompile(`\]\(([^)#]+)`).FindAllStringSubmatch(text, -1) {
		if strings.Contains(link[1], "://") {
			continue
		}
		if _, err := os.Stat(filepath.Join(repository, link[1])); err != nil {
			t.Errorf("README.md links %s: %v", link[1], err)
		}
	}
	for _, page := range documents(t) {
		if name := filepath.Base(page); filepath.Base(filepath.Dir(page)) == "docs" && !strings.Contains(text, "(docs/"+name+")") {
			t.Errorf("README.md does not link docs/%s", name)
		}
	}
}

// documents returns the README and the pages of docs.
func documents(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob(filepath.Join(repository, "docs/*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("documents: %v", err)
	}
	return append(pages, filepath.Join(repository, "README.md"))
}
