package sim

import (
	_ "embed" // the table below
	"strings"
)

// models maps models to their common files, a line each.
//
//go:embed models.tsv
var models string

// commonFile returns the configuration file that all phones of a model share, as
// far as it is known. The case of the model, and "SIP-" before it, do not matter.
func commonFile(model string) (string, bool) {
	model = strings.TrimPrefix(strings.ToUpper(model), "SIP-")
	for line := range strings.Lines(models) {
		if name, file, _ := strings.Cut(strings.TrimSpace(line), "\t"); name == model {
			return file, true
		}
	}
	return "", false
}
