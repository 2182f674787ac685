package phones

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/sae-agent/sae-agent/agent/phones/yealink"
)

const (
	tokenTime = 15 * time.Minute
	maxTokens = 1000
)

// tokens are single-use passwords. Only their hashes are kept: what is in memory
// opens nothing.
type tokens struct {
	now func() time.Time

	mu     sync.Mutex // guards the following
	issued map[[sha256.Size]byte]token
}

type token struct {
	extension string
	expires   time.Time
}

func newTokens(now func() time.Time) *tokens {
	return &tokens{now: now, issued: make(map[[sha256.Size]byte]token)}
}

func (t *tokens) issue(extension string) (text string, expires time.Time) {
	text, expires = rand.Text(), t.now().Add(tokenTime)
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, old := range t.issued {
		if t.now().After(old.expires) || len(t.issued) >= maxTokens {
			delete(t.issued, k)
		}
	}
	t.issued[sha256.Sum256([]byte(text))] = token{extension, expires}
	return text, expires
}

func (t *tokens) redeem(text string) (extension string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := sha256.Sum256([]byte(text))
	found, ok := t.issued[k]
	delete(t.issued, k)
	if !ok || t.now().After(found.expires) {
		return "", fmt.Errorf("phones: softphone link: %w", fs.ErrNotExist)
	}
	return found.extension, nil
}

// Linphone's remote provisioning: a configuration file in XML.
type lpconfig struct {
	XMLName  xml.Name    `xml:"http://www.linphone.org/xsds/lpconfig.xsd config"`
	Sections []lpsection `xml:"section"`
}

type lpsection struct {
	Name    string    `xml:"name,attr"`
	Entries []lpentry `xml:"entry"`
}

type lpentry struct {
	Name      string `xml:"name,attr"`
	Overwrite bool   `xml:"overwrite,attr"`
	Value     string `xml:",chardata"`
}

// linphone writes a softphone's configuration.
func linphone(s yealink.Site, e yealink.Account) ([]byte, error) {
	host := s.Server.String()
	server := net.JoinHostPort(host, strconv.Itoa(int(s.Port)))
	name := orElse(yealink.Clean(e.Name), e.Number)
	section := func(name string, pairs ...string) lpsection {
		out := lpsection{Name: name}
		for i := 0; i+1 < len(pairs); i += 2 {
			out.Entries = append(out.Entries, lpentry{pairs[i], true, yealink.Clean(pairs[i+1])})
		}
		return out
	}
	c := lpconfig{Sections: []lpsection{
		section("misc", "transient_provisioning", "1"), // apply it, do not ask here again
		section("sip", "default_proxy", "0"),
		section("proxy_0",
			"reg_proxy", "<sip:"+server+";transport="+s.Transport+">",
			"reg_identity", strconv.Quote(name)+" <sip:"+e.Number+"@"+host+">",
			"reg_expires", "600", "reg_sendregister", "1"),
		section("auth_info_0", "username", e.Number, "domain", host, "passwd", e.Secret),
	}}
	out, err := xml.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("phones: softphone file: %w", err)
	}
	return append([]byte(xml.Header), append(out, '\n')...), nil
}
