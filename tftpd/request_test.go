package tftpd

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rrq makes a packet of an opcode and words.
func rrq(op byte, words ...string) []byte {
	return append([]byte{0, op}, strings.Join(words, "\x00")+"\x00"...)
}

func TestParseRequest(t *testing.T) {
	for name, c := range map[string]struct {
		packet []byte
		want   string // the request as pin/tftp gets it, | for zero bytes
	}{
		"plain":                     {rrq(1, "a.cfg", "octet"), "a.cfg|octet|"},
		"mode in any case":          {rrq(1, "a.cfg", "OctEt"), "a.cfg|octet|"},
		"options in any case":       {rrq(1, "a.cfg", "octet", "BLKSIZE", "1428", "TSize", "0"), "a.cfg|octet|blksize|1428|tsize|0|"},
		"unknown options":           {rrq(1, "a.cfg", "octet", "timeout", "5", "windowsize", "8", "x", "y"), "a.cfg|octet|"},
		"an option twice":           {rrq(1, "a.cfg", "octet", "blksize", "1024", "BlkSize", "512"), "a.cfg|octet|blksize|1024|"},
		"blocks too small":          {rrq(1, "a.cfg", "octet", "blksize", "8"), "a.cfg|octet|"},
		"blocks too large":          {rrq(1, "a.cfg", "octet", "blksize", "70000"), "a.cfg|octet|"},
		"a number that is none":     {rrq(1, "a.cfg", "octet", "blksize", "many"), "a.cfg|octet|"},
		"an option without a value": {rrq(1, "a.cfg", "octet", "blksize"), "a.cfg|octet|"},
		"netascii has no size":      {rrq(1, "a.cfg", "netascii", "tsize", "0", "blksize", "512"), "a.cfg|netascii|blksize|512|"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parseRequest(c.packet)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff("\x00\x01"+strings.ReplaceAll(c.want, "|", "\x00"), string(r.encode())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseRequestRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		packet []byte
		code   uint16
		quiet  bool
	}{
		"nothing":              {nil, 0, true},
		"DATA":                 {[]byte{0, 3, 0, 1, 'x'}, 0, true},
		"ACK":                  {[]byte{0, 4, 0, 1}, 0, true},
		"ERROR":                {[]byte{0, 5, 0, 1, 0}, 0, true},
		"OACK":                 {[]byte{0, 6, 'a', 0}, 0, true},
		"a write":              {rrq(2, "a.cfg", "octet"), codeDenied, false},
		"an unknown operation": {rrq(9, "a.cfg", "octet"), codeIllegal, false},
		"cut off":              {[]byte("\x00\x01a.cfg\x00octet"), codeIllegal, false},
		"no mode":              {[]byte("\x00\x01a.cfg\x00"), codeIllegal, false},
		"no name":              {rrq(1, "", "octet"), codeIllegal, false},
		"a name without end":   {rrq(1, strings.Repeat("a", 256), "octet"), codeIllegal, false},
		"mail":                 {rrq(1, "root", "mail"), codeIllegal, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseRequest(c.packet)
			var p *protocolError
			if !errors.As(err, &p) || p.code != c.code || p.quiet != c.quiet {
				t.Errorf("got %#v, want code %d, quiet %t", err, c.code, c.quiet)
			}
		})
	}
}

// Whatever comes, what goes on to pin/tftp is a request that reads the same again.
func FuzzParseRequest(f *testing.F) {
	f.Add(rrq(1, "001565aabbcc.cfg", "octet", "BLKSIZE", "1428", "tsize", "0"))
	f.Add(rrq(1, "../../etc/passwd", "netascii"))
	f.Add(rrq(2, "a", "octet"))
	f.Add([]byte{0, 1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRequest(b)
		if err != nil {
			var p *protocolError
			if !errors.As(err, &p) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		again, err := parseRequest(r.encode())
		if err != nil {
			t.Fatalf("%q: %v", r.encode(), err)
		}
		if diff := cmp.Diff(r, again, cmp.AllowUnexported(readRequest{}, option{})); diff != "" {
			t.Error(diff)
		}
	})
}
