package config

import "github.com/sae-agent/sae-agent/internal/masked"

// Secret is a password, which shows as "******" except in what Config.Marshal writes.
type Secret = masked.String
