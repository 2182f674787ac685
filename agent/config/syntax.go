package config

import (
	"bytes"
	"errors"
	"io"

	"go.yaml.in/yaml/v3"
)

// longestFlow is over how many lines a list in brackets, or a quoted text, is looked
// for that is not finished in a prefix of the file and yet is right.
const longestFlow = 50

// brokenLine finds the line that makes the text no YAML: all lines before it are YAML,
// and with it they are not. The parser itself often names where the surrounding
// mapping begins, or the line above that. It returns 0 if the text is YAML.
func brokenLine(data []byte) int {
	lines := bytes.SplitAfter(data, []byte("\n"))
	end, ends := 0, make([]int, 1, len(lines)+1) // ends[n] is where the first n lines end
	for _, line := range lines {
		end += len(line)
		ends = append(ends, end)
	}
	good, bad := 0, len(lines)
	if isYAML(data) {
		return 0
	}
	for {
		for bad-good > 1 {
			if middle := (good + bad) / 2; isYAML(data[:ends[middle]]) {
				good = middle
			} else {
				bad = middle
			}
		}
		// What was cut in the middle of a list in brackets is not the mistake if the list ends.
		further := good
		for n := bad + 1; n < len(lines) && n <= bad+longestFlow; n++ {
			if isYAML(data[:ends[n]]) {
				further = n
			}
		}
		if further == good {
			return bad
		}
		good, bad = further, len(lines)
	}
}

// isYAML reports whether the first document of the text can be parsed.
func isYAML(data []byte) bool {
	var doc yaml.Node
	err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&doc)
	return err == nil || errors.Is(err, io.EOF)
}
