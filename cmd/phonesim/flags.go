package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/sae-agent/sae-agent/cmd/phonesim/sim"
)

const maxPhones = 1 << 16

// flags are the command line.
type flags struct {
	sim.Options
	phones    int
	model     string
	prefix    string
	inventory string
	live      bool
	json      bool
}

func parse(args []string, stderr io.Writer) (flags, error) {
	var f flags
	set := flag.NewFlagSet("phonesim", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.Usage = func() { usage(set) }
	set.StringVar(&f.Interface, "interface", "", "network `card` that the phones are plugged into")
	set.IntVar(&f.phones, "phones", 1, "how `many` phones")
	set.StringVar(&f.model, "model", "T42U", "their `model`")
	set.StringVar(&f.prefix, "mac-prefix", "00:15:65", "first three `bytes` of their MAC addresses")
	set.StringVar(&f.inventory, "inventory", "", "JSON `file` of phones instead: [{\"mac\":\"001565000001\",\"model\":\"T42U\",\"extension\":\"100\"}]")
	set.BoolVar(&f.Storm, "storm", false, "power all phones on at the same instant, as after a power cut")
	set.BoolVar(&f.Register, "register", false, "register each phone's line with the SIP server of its file")
	set.Var((*calls)(&f.Calls), "call", "have the registered phones call each other two by two; --call=N makes N calls at most")
	set.BoolVar(&f.Stay, "stay", false, "leave the phones on until interrupted: they stay registered, and fetch their files again when asked to")
	set.BoolVar(&f.Release, "release", false, "at the end, unregister and give the addresses back")
	set.BoolVar(&f.Insecure, "insecure", false, "take any certificate over https and SIP over TLS")
	set.BoolVar(&f.live, "live", false, "show the phones while they boot")
	set.BoolVar(&f.json, "json", false, "print one JSON document instead of the table")
	set.DurationVar(&f.Timeout, "timeout", time.Minute, "a phone that is not up after this long failed; counts from the first power on")
	if err := set.Parse(args); err != nil {
		return f, err
	}
	given := make(map[string]bool)
	set.Visit(func(g *flag.Flag) { given[g.Name] = true })
	switch {
	case set.NArg() > 0:
		return f, fmt.Errorf("what is %q? see --help", set.Arg(0))
	case f.Interface == "":
		return f, errors.New("which card? add --interface NAME")
	case f.phones < 1 || f.phones > maxPhones:
		return f, fmt.Errorf("--phones must be between 1 and %d", maxPhones)
	case f.Timeout <= 0:
		return f, errors.New("--timeout must be more than 0, such as 60s")
	case f.Calls > 0 && !f.Register:
		return f, errors.New("only registered phones can call: add --register")
	case f.live && f.json:
		return f, errors.New("either --live or --json")
	case f.inventory != "" && (given["phones"] || given["model"] || given["mac-prefix"]):
		return f, errors.New("the inventory says which phones: leave out --phones, --model and --mac-prefix")
	}
	return f, nil
}

// calls is how many test calls there are to be; the flag alone means all.
type calls int

func (c *calls) IsBoolFlag() bool { return true }

func (c *calls) String() string { return "" }

func (c *calls) Set(text string) error {
	if text == "true" {
		*c = sim.AllCalls
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return errors.New("not a number of calls, such as --call=1")
	}
	*c = calls(n)
	return nil
}

func usage(set *flag.FlagSet) {
	w := set.Output()
	fmt.Fprint(w, `Simulates Yealink phones on a network card: each gets an address by DHCP, fetches
its files from where option 66 says, registers its line and calls if told to.

  phonesim --interface CARD [--phones N] [--storm] [--register [--call]] [--live | --json]
  phonesim --interface CARD --inventory FILE [...]

Exit status: 0 every phone came up and every call was right, 1 not so, 2 wrong usage.

`)
	set.VisitAll(func(f *flag.Flag) {
		name, text := flag.UnquoteUsage(f)
		if f.DefValue != "" && f.DefValue != "false" {
			text += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(w, "  --%-20s %s\n", strings.TrimSpace(f.Name+" "+strings.ToUpper(name)), text)
	})
}

// fleet lists the phones to simulate.
func (f flags) fleet() ([]sim.Phone, error) {
	if f.inventory != "" {
		data, err := os.ReadFile(f.inventory)
		if err != nil {
			return nil, err
		}
		phones, err := readInventory(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.inventory, err)
		}
		return phones, nil
	}
	prefix, err := net.ParseMAC(f.prefix + ":00:00:00")
	if err != nil || len(prefix) != 6 || prefix[0]&1 != 0 {
		return nil, fmt.Errorf("--mac-prefix: %q is not three bytes such as 00:15:65", f.prefix)
	}
	var out []sim.Phone
	for i := range f.phones {
		n := i + 1
		out = append(out, sim.Phone{MAC: append(prefix[:3:3], 0xfe+byte(n>>16), byte(n>>8), byte(n)), Model: f.model})
	}
	return out, nil
}

// readInventory reads the phones of a JSON document. Two with the same MAC, or none
// at all, are an error.
func readInventory(data []byte) ([]sim.Phone, error) {
	var list []struct{ MAC, Model, Extension string }
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&list); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("no phone is listed")
	}
	first := make(map[string]int)
	var out []sim.Phone
	for i, p := range list {
		m, err := parseMAC(p.MAC)
		if err != nil {
			return nil, fmt.Errorf("phone %d: %w", i+1, err)
		}
		if other := first[m.String()]; other > 0 {
			return nil, fmt.Errorf("phone %d: phone %d has the MAC %v already", i+1, other, m)
		}
		first[m.String()] = i + 1
		out = append(out, sim.Phone{MAC: m, Model: p.Model, Extension: p.Extension})
	}
	return out, nil
}

// parseMAC reads an Ethernet address with or without separators.
func parseMAC(text string) (net.HardwareAddr, error) {
	hex := strings.NewReplacer(":", "", "-", "", ".", "").Replace(text)
	if len(hex) == 12 {
		if m, err := net.ParseMAC(hex[:4] + "." + hex[4:8] + "." + hex[8:]); err == nil && m[0]&1 == 0 {
			return m, nil
		}
	}
	return nil, fmt.Errorf("%q is no phone's MAC address", text)
}
