package pbx_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"github.com/sae-agent/sae-agent/packaging/dev/lab/labtest"
)

// device is a phone that registers, answers OPTIONS and NOTIFY, and can do nothing else.
type device struct {
	conn     net.Conn
	number   string
	secret   string
	answers  chan *sip.Response
	notified chan string // the Event headers of NOTIFYs
	done     chan struct{}
}

// newDevice puts a device onto a host. Its packets come from the host's address.
func newDevice(t *testing.T, h *labtest.Host, number, secret string) *device {
	t.Helper()
	d := &device{
		number: number, secret: secret, answers: make(chan *sip.Response, 10), notified: make(chan string, 10), done: make(chan struct{}),
	}
	h.Do(func() (err error) {
		d.conn, err = net.Dial("udp", sipServer)
		return err
	})
	go d.listen()
	t.Cleanup(func() {
		d.conn.Close()
		<-d.done
	})
	return d
}

func (d *device) listen() {
	defer close(d.done)
	buf := make([]byte, 65536)
	for {
		n, err := d.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of a server that is down
		}
		m, err := sip.ParseMessage(append([]byte(nil), buf[:n]...))
		if err != nil {
			continue
		}
		switch m := m.(type) {
		case *sip.Response:
			d.answers <- m
		case *sip.Request:
			if m.Method == sip.NOTIFY {
				d.notified <- m.GetHeader("Event").Value()
			}
			_, _ = d.conn.Write([]byte(sip.NewResponseFromRequest(m, 200, "OK", nil).String()))
		}
	}
}

// register returns the last answer's status.
func (d *device) register(seconds int) (int, error) {
	auth := ""
	id := sip.GenerateTagN(16)
	for try := 1; ; try++ {
		local := d.conn.LocalAddr().String()
		uri := "sip:" + sipServer
		text := fmt.Sprintf("REGISTER %s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=%s;rport\r\nMax-Forwards: 70\r\n"+
			"From: <sip:%[4]s@%[5]s>;tag=%[6]s\r\nTo: <sip:%[4]s@%[5]s>\r\nCall-ID: %[6]s\r\nCSeq: %[7]d REGISTER\r\n"+
			"Contact: <sip:%[4]s@%[2]s>\r\nExpires: %[8]d\r\nUser-Agent: Yealink SIP-T42U 108.86.0.75\r\n%[9]sContent-Length: 0\r\n\r\n",
			uri, local, sip.GenerateBranch(), d.number, sipServer, id, try, seconds, auth)
		res, err := d.exchange(text, id)
		if err != nil {
			return 0, err
		}
		if res.StatusCode != 401 || try == 2 {
			return res.StatusCode, nil
		}
		c, err := digest.ParseChallenge(res.GetHeader("WWW-Authenticate").Value())
		if err != nil {
			return 0, err
		}
		cred, err := digest.Digest(c, digest.Options{Method: "REGISTER", URI: uri, Username: d.number, Password: d.secret, Count: 1})
		if err != nil {
			return 0, err
		}
		auth = "Authorization: " + cred.String() + "\r\n"
	}
}

func (d *device) exchange(text, id string) (*sip.Response, error) {
	for range 20 {
		if _, err := d.conn.Write([]byte(text)); err != nil && !strings.Contains(err.Error(), "refused") {
			return nil, err
		}
		again := time.After(time.Second)
		for waiting := true; waiting; {
			select {
			case res := <-d.answers:
				if res.CallID().Value() == id && res.StatusCode >= 200 && strings.Contains(text, res.CSeq().Value()) {
					return res, nil
				}
			case <-again:
				waiting = false
			}
		}
	}
	return nil, fmt.Errorf("%s: no answer", d.number)
}

// mustRegister fails the test unless the server says status.
func (d *device) mustRegister(t *testing.T, status int) {
	t.Helper()
	got, err := d.register(600)
	if err != nil || got != status {
		t.Fatalf("REGISTER of %s: %d, %v; want %d", d.number, got, err, status)
	}
}
