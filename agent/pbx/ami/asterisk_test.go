package ami_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/sae-agent/sae-agent/agent/pbx/ami"
	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

const managerConf = `[general]
enabled = yes
bindaddr = 127.0.0.1
[sae-agent]
secret = correct-horse
read = system,security,call
write = system,call,reporting
`

// dialer connects from within a host.
func dialer(h *labtest.Host) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = h.Host.Do(func() error {
			conn, err = new(net.Dialer).DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
}

// What the client believes of Asterisk, asked of a real one: it breaks here when a version of Asterisk changes it.
func TestAsterisk(t *testing.T) {
	h := labtest.New(t).Host("pbx")
	server := h.Asterisk(map[string]string{
		"manager.conf": managerConf,
		"pjsip.conf":   "[100]\ntype=endpoint\naors=100\n[100]\ntype=aor\ncontact=sip:100@127.0.0.1:5099\n[101]\ntype=endpoint\n",
	})
	up, down, events := make(ups, 10), make(chan error, 10), make(chan ami.Message, 1000)
	cfg := ami.Config{
		Addr: "127.0.0.1:5038", User: "sae-agent", Secret: "correct-horse", Dial: dialer(h), OnUp: up.note,
		OnDown: func(err error) { down <- err }, OnEvent: func(m ami.Message) { events <- m }, MinDelay: 10 * time.Millisecond,
	}
	c := run(t, cfg)
	<-up

	t.Run("list", func(t *testing.T) {
		list, err := c.List(t.Context(), ami.NewAction("PJSIPShowEndpoints"))
		if err != nil || len(list) != 2 || list[0].Get("ObjectName") == "" || list[0].Get("DeviceState") == "" {
			t.Errorf("endpoints: %v, %v", list, err)
		}
	})
	t.Run("empty list", func(t *testing.T) {
		for _, name := range []string{"CoreShowChannels", "PJSIPShowRegistrationsOutbound", "PJSIPShowAuths"} {
			if list, err := c.List(t.Context(), ami.NewAction(name)); err != nil || len(list) != 0 {
				t.Errorf("%s: %v, %v", name, list, err)
			}
		}
	})
	t.Run("refused action", func(t *testing.T) {
		_, err := c.Do(t.Context(), ami.NewAction("Command", "Command", "core show version"))
		var refused *ami.ResponseError
		if !errors.As(err, &refused) {
			t.Errorf("our user may run commands: %v", err)
		}
	})
	t.Run("event", func(t *testing.T) {
		if _, err := c.Do(t.Context(), ami.NewAction("Reload", "Module", "manager")); err != nil {
			t.Fatal(err)
		}
		for m := range events {
			if m.Event() == "Reload" && m.Get("Module") == "manager" {
				break
			}
		}
	})
	t.Run("restart", func(t *testing.T) {
		server.Kill()
		if err := <-down; err == nil {
			t.Error("no reason why it is down")
		}
		server.Start()
		<-up
		if _, err := c.Do(t.Context(), ami.NewAction("Ping")); err != nil {
			t.Errorf("after the restart: %v", err)
		}
	})
	t.Run("wrong secret", func(t *testing.T) {
		wrong := cfg
		wrong.Secret, wrong.OnUp, wrong.OnDown, wrong.OnEvent = "battery-staple", nil, nil, nil
		c := run(t, wrong)
		labtest.Eventually(t, func() error {
			if err := c.Status().Err; !errors.Is(err, ami.ErrRefused) {
				return errors.Join(errors.New("the error is another"), err)
			}
			return nil
		})
	})
}
