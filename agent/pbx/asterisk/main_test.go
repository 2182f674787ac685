package asterisk

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/packaging/dev/lab"
)

func TestMain(m *testing.M) { lab.Main(m, func() error { return goleak.Find() }) }
