// Package pbxtest makes extensions with random names and secrets that 'sae-agent check' accepts, for the tests of the
// exchange's drivers: whatever is accepted must arrive.
package pbxtest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/sae-agent/sae-agent/agent/config"
	"github.com/sae-agent/sae-agent/agent/pbx"
)

// signs are those that configuration files, callers' names and dialplans have meanings of their own for.
var signs = []rune("\"'`;\\,#=>[](){}<>|&$@%~!?*+-/:^_ äßé漢😀abcXYZ019")

// text is of printable signs, the awkward ones most of all.
func text(r *rand.Rand, shortest, longest int) string {
	out := make([]rune, shortest+r.IntN(longest-shortest+1))
	for i := range out {
		if out[i] = signs[r.IntN(len(signs))]; r.IntN(4) == 0 {
			out[i] = rune(' ' + r.IntN('~'-' '+1))
		}
	}
	return string(out)
}

// seedEnv chooses other names and secrets than those of every run: a number, which a failed test has logged.
const seedEnv = "SAE_SEED"

// Extensions are accepted with a driver.
func Extensions(t testing.TB, driver config.Driver, count int) (out []pbx.Extension) {
	t.Helper()
	seed := uint64(1)
	if text := os.Getenv(seedEnv); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedEnv, err)
		}
	}
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for tries := 0; len(out) < count; tries++ {
		if tries > 1000*count {
			t.Fatalf("of %d only %d were accepted", tries, len(out))
		}
		e := pbx.Extension{
			Number: fmt.Sprint(200 + len(out)), Name: text(r, 1, 30), Secret: pbx.Secret(text(r, 12, 24)), Voicemail: r.IntN(2) == 0,
		}
		line, err := json.Marshal([]map[string]any{{"number": e.Number, "name": e.Name, "secret": e.Secret.Reveal(), "voicemail": e.Voicemail}})
		if err != nil {
			t.Fatal(err)
		}
		file := "wan: {method: none}\nlan: {interface: ens34, address: 192.168.1.1/24}\ndhcp: {range: 192.168.1.10-192.168.1.100}\n" +
			"pbx: {driver: " + string(driver) + "}\nextensions: " + string(line) + "\n"
		c, _, err := config.Options{}.Parse("test", []byte(file))
		if err != nil {
			continue
		}
		if got := c.Extensions[0]; got.Name != e.Name || got.SecretFrom(nil) != e.Secret.Reveal() {
			t.Fatalf("the file says %q and %q, and is read as %q and %q", e.Name, e.Secret.Reveal(), got.Name, got.SecretFrom(nil))
		}
		out = append(out, e)
	}
	return out
}
