// Package packaging gives programs what is shipped beside them.
package packaging

import _ "embed"

// ConfigSchema is the JSON Schema of the configuration file.
//
//go:embed config.schema.json
var ConfigSchema string
