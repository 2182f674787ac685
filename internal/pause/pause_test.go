package pause_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sae-agent/sae-agent/internal/pause"
)

func TestFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if !pause.For(ctx, time.Second) || time.Since(began) != time.Second {
			t.Errorf("not awake after %v", time.Since(began))
		}
		if pause.For(ctx, time.Hour) || time.Since(began) != time.Minute {
			t.Errorf("awake after %v, when ctx ended", time.Since(began))
		}
	})
}
