package tftpd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
)

// Opcodes (RFC 1350 section 5).
const (
	opRead  = 1
	opWrite = 2
	opError = 5
	opOACK  = 6
)

// Error codes (RFC 1350 section 5).
const (
	codeUndefined = 0
	codeNotFound  = 1
	codeDenied    = 2
	codeIllegal   = 4
)

// maxName bounds a file's name in bytes; no phone comes near.
const maxName = 255

// protocolError is a request that cannot be served, and what its client is told.
// With quiet it is told nothing: an answer to an answer could go round for ever.
type protocolError struct {
	code  uint16
	text  string
	quiet bool
}

func (e *protocolError) Error() string { return e.text }

var errQuiet = &protocolError{text: "not a request", quiet: true}

// readRequest is a read request (RRQ) in order.
type readRequest struct {
	name    string
	mode    string // octet or netascii
	options []option
}

type option struct{ name, value string }

// parseRequest reads a datagram that came to the server's port. Its error is
// always a *protocolError.
func parseRequest(b []byte) (r readRequest, err error) {
	if len(b) < 4 {
		return r, errQuiet
	}
	switch op := binary.BigEndian.Uint16(b); {
	case op == opRead:
	case op == opWrite:
		return r, &protocolError{code: codeDenied, text: "this server is read-only"}
	case op > opWrite && op <= opOACK:
		return r, errQuiet
	default:
		return r, &protocolError{code: codeIllegal, text: "unknown operation"}
	}
	if b[len(b)-1] != 0 {
		return r, &protocolError{code: codeIllegal, text: "the request is cut off"}
	}
	words := strings.Split(string(b[2:len(b)-1]), "\x00")
	if len(words) < 2 || words[0] == "" || len(words[0]) > maxName {
		return r, &protocolError{code: codeIllegal, text: "the request names no file"}
	}
	r.name, r.mode = words[0], strings.ToLower(words[1])
	if r.mode != "octet" && r.mode != "netascii" {
		return r, &protocolError{code: codeIllegal, text: "the mode must be octet or netascii"}
	}
	r.options = usable(r.mode, words[2:])
	return r, nil
}

// usable picks the options that the transfer can do. Names are taken in any
// letter case; what is left out is left unanswered, as RFC 2347 allows.
func usable(mode string, words []string) []option {
	var out []option
	seen := make(map[string]bool)
	for ; len(words) >= 2; words = words[2:] {
		name, value := strings.ToLower(words[0]), words[1]
		n, err := strconv.Atoi(value)
		switch {
		case err != nil || seen[name]:
			continue
		case name == "blksize" && n >= 512 && n <= 65464: // RFC 2348; pin/tftp does no smaller blocks
		case name == "tsize" && mode == "octet": // as netascii the size is not known before
			value = "0"
		default:
			continue
		}
		seen[name] = true
		out = append(out, option{name, value})
	}
	return out
}

// encode returns the request as it goes on to pin/tftp.
func (r readRequest) encode() []byte {
	var b bytes.Buffer
	b.Write([]byte{0, opRead})
	words := []string{r.name, r.mode}
	for _, o := range r.options {
		words = append(words, o.name, o.value)
	}
	for _, w := range words {
		b.WriteString(w)
		b.WriteByte(0)
	}
	return b.Bytes()
}

// encodeError returns an ERROR packet.
func encodeError(err error) []byte {
	code, text := uint16(codeUndefined), "the file cannot be read"
	var p *protocolError
	if errors.As(err, &p) {
		code, text = p.code, p.text
	}
	b := binary.BigEndian.AppendUint16([]byte{0, opError}, code)
	return append(append(b, text...), 0)
}
