package main

import (
	"io/fs"
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

// A test that a page names exists, in each of the folders that stand before it.
func TestDocumentedTestsExist(t *testing.T) {
	tests, tested := foldersOfTests(t)
	span := regexp.MustCompile("`([a-z][a-z0-9/-]*)`|`(Test[A-Z][A-Za-z0-9]*)`|[;|]|(?m)^$")
	for _, page := range documents(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		var folders []string
		for _, m := range span.FindAllStringSubmatch(string(text), -1) {
			folder, name := m[1], m[2]
			missing := func(f string) bool { return !slices.Contains(tests[name], f) }
			switch {
			case name != "" && (tests[name] == nil || slices.ContainsFunc(folders, missing)):
				t.Errorf("%s names %s of %q, which is in %q", page, name, folders, tests[name])
			case name != "":
			case folder == "":
				folders = nil
			case tested[folder]:
				folders = append(folders, folder)
			}
		}
	}
}

// foldersOfTests returns in which folders there is a test of each name, and which folders have any.
func foldersOfTests(t *testing.T) (tests map[string][]string, tested map[string]bool) {
	t.Helper()
	tests, tested = make(map[string][]string), make(map[string]bool)
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := fs.WalkDir(os.DirFS(repository), ".", func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && (path == "build" || path == ".git") {
			return fs.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(filepath.Join(repository, path))
		folder := filepath.Dir(path)
		tested[folder] = true
		for _, m := range function.FindAllSubmatch(text, -1) {
			tests[string(m[1])] = append(tests[string(m[1])], folder)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests, tested
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

var (
	fenced  = regexp.MustCompile("(?ms)^```.*?^```$")
	inlined = regexp.MustCompile("`[^`\n]+`")
	linked  = regexp.MustCompile(`\]\(([^)]+)\)`)
)

// ordersOf are the lines that a reader copies, without what they say about them.
func ordersOf(text string) (out []string) {
	for _, block := range fenced.FindAllString(text, -1) {
		console := strings.HasPrefix(block, "```\n")
		for line := range strings.Lines(block) {
			if !console || strings.HasPrefix(line, "$ ") {
				line, _, _ = strings.Cut(line, " # ")
				out = append(out, strings.TrimSpace(line))
			}
		}
	}
	return out
}

// The French README has the commands, the sample, the names and the links of the English one, section by section.
func TestFrenchReadme(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(repository, "README.fr.md"))
	if err != nil {
		t.Fatal(err)
	}
	english, french := strings.Split(readme(t), "\n## "), strings.Split(string(data), "\n## ")
	if len(english) != len(french) {
		t.Fatalf("%d sections in English, %d in French", len(english), len(french))
	}
	copied := 0
	for i := range english {
		en, fr := ordersOf(english[i]), ordersOf(french[i])
		if copied += len(en); !slices.Equal(en, fr) {
			t.Errorf("what is copied differs:\n%q\n%q", en, fr)
		}
		en = inlined.FindAllString(fenced.ReplaceAllString(english[i], ""), -1)
		fr = inlined.FindAllString(fenced.ReplaceAllString(french[i], ""), -1)
		slices.Sort(en)
		slices.Sort(fr)
		if !slices.Equal(en, fr) {
			t.Errorf("what is named differs:\n%q\n%q", en, fr)
		}
		en, fr = linked.FindAllString(english[i], -1), linked.FindAllString(french[i], -1)
		if i == 0 {
			en, fr = en[1:], fr[1:] // each leads to the other
		}
		if !slices.Equal(en, fr) {
			t.Errorf("links differ:\n%q\n%q", en, fr)
		}
	}
	if copied < 15 {
		t.Errorf("only %d lines are compared", copied)
	}
	prose := inlined.ReplaceAllString(fenced.ReplaceAllString(string(data), ""), "x")
	if bad := regexp.MustCompile(`.{0,20}( [:;!?»]|« |[a-zé]'[a-zé]).{0,20}`).FindAllString(prose, -1); len(bad) > 0 {
		t.Errorf("these spaces may be broken, or apostrophes are typewritten: %q", bad)
	}
	if !strings.Contains(readme(t), "(README.fr.md)") || !strings.Contains(string(data), "(README.md)") {
		t.Error("the two do not lead to each other")
	}
}

// documents returns the READMEs and the pages of docs.
func documents(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob(filepath.Join(repository, "docs/*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("documents: %v", err)
	}
	return append(pages, filepath.Join(repository, "README.md"), filepath.Join(repository, "README.fr.md"))
}
