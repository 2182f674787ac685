package fail2ban_test

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"
)

func errorf(format string, args ...any) error { return fmt.Errorf(format, args...) }

// register is an attempt to register.
type register struct {
	user     string // as it is written in a SIP URI
	call     string // Call-ID; empty: any
	response string // to the challenge; empty: none is sent
}

// attempt sends one REGISTER (RFC 3261 section 10) and, if there is a response to
// give, a second one with that response to the challenge (section 22).
func (e *exchange) attempt(server string, r register) {
	e.t.Helper()
	var conn net.Conn
	e.attacker.Do(func() (err error) {
		conn, err = net.Dial("udp", net.JoinHostPort(server, "5060"))
		return err
	})
	defer conn.Close()
	r.call += fmt.Sprint(time.Now().UnixNano())
	challenge := e.send(conn, r, 1, "")
	if r.response == "" {
		return
	}
	e.send(conn, r, 2, fmt.Sprintf(
		"Authorization: Digest username=\"100\", realm=\"asterisk\", nonce=%q, opaque=%q, uri=\"sip:pbx\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"x\", response=\"%s\"\r\n",
		parameter(challenge, "nonce"), parameter(challenge, "opaque"), r.response))
}

func parameter(answer, name string) string {
	m := regexp.MustCompile(name + `="([^"]*)"`).FindStringSubmatch(answer)
	if m == nil {
		return ""
	}
	return m[1]
}

// send sends a request until it is refused with 401, and returns the answer.
func (e *exchange) send(conn net.Conn, r register, seq int, more string) string {
	e.t.Helper()
	request := fmt.Sprintf("REGISTER sip:pbx SIP/2.0\r\nVia: SIP/2.0/UDP %[1]s;branch=z9hG4bK%[6]d\r\nMax-Forwards: 70\r\n"+
		"From: <sip:%[2]s@pbx>;tag=1\r\nTo: <sip:%[2]s@pbx>\r\nCall-ID: %[3]s\r\nCSeq: %[4]d REGISTER\r\nContact: <sip:x@%[1]s>\r\n%[5]sContent-Length: 0\r\n\r\n",
		conn.LocalAddr(), r.user, r.call, seq, more, time.Now().UnixNano())
	buf := make([]byte, 4096)
	for range 60 { // a repetition is no second attempt: same branch
		if _, err := conn.Write([]byte(request)); err != nil {
			e.t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			e.t.Fatal(err)
		}
		n, err := conn.Read(buf)
		if err != nil {
			continue
		}
		if answer := string(buf[:n]); strings.HasPrefix(answer, "SIP/2.0 401 ") {
			return answer
		}
		e.t.Fatalf("unexpected answer:\n%s", buf[:n])
	}
	e.t.Fatal("no answer from Asterisk")
	return ""
}
