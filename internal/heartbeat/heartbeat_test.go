package heartbeat_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sae-agent/sae-agent/internal/heartbeat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAsk(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var l heartbeat.Loop
	if err := l.Ask(t.Context()); err != nil {
		t.Errorf("before it turns: %v", err)
	}
	hang, packets, ended := make(chan struct{}), 0, make(chan struct{})
	go func() {
		defer close(ended)
		defer l.End()
		l.Begin(c.(*net.UDPConn))
		for buf := make([]byte, 10); ; {
			_, _, err := c.ReadFrom(buf)
			if l.Answered(err) {
				continue
			}
			if err != nil {
				return
			}
			packets++
			<-hang
		}
	}()
	for range 100 {
		if err := l.Ask(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	out, err := net.Dial("udp", c.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := out.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	// A loop that hangs is silent.
	for err == nil {
		var ctx context.Context
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		err = l.Ask(ctx)
		cancel()
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	close(hang)
	if err := l.Ask(t.Context()); err != nil {
		t.Errorf("it turns again: %v", err)
	}
	_ = c.Close()
	<-ended
	if err := l.Ask(t.Context()); err != nil || packets != 1 {
		t.Errorf("after its end: %v, %d packets", err, packets)
	}
}
