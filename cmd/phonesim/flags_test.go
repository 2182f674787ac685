package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWrongUsage(t *testing.T) {
	inventory := func(content string) string {
		return (&site{t: t}).write("inventory.json", content)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "which card?"},
		{[]string{"--interface", "eth0", "7"}, `what is "7"?`},
		{[]string{"--interface", "eth0", "--colour"}, "-colour"},
		{[]string{"--interface", "eth0", "--phones", "0"}, "--phones must be between 1 and 65536"},
		{[]string{"--interface", "eth0", "--phones", "70000"}, "--phones must be between 1 and 65536"},
		{[]string{"--interface", "eth0", "--call"}, "add --register"},
		{[]string{"--interface", "eth0", "--register", "--call=0"}, "not a number of calls"},
		{[]string{"--interface", "eth0", "--timeout", "0s"}, "--timeout must be more than 0"},
		{[]string{"--interface", "eth0", "--mac-prefix", "00:15"}, `--mac-prefix: "00:15" is not three bytes`},
		{[]string{"--interface", "eth0", "--mac-prefix", "01:15:65"}, `--mac-prefix: "01:15:65" is not three bytes`},
		{[]string{"--interface", "eth0", "--live", "--json"}, "either --live or --json"},
		{[]string{"--interface", "eth0", "--phones", "2", "--inventory", "x"}, "the inventory says which phones"},
		{[]string{"--interface", "eth0", "--inventory", "/nonexistent/x"}, "open /nonexistent/x: no such file"},
		{[]string{"--interface", "eth0", "--inventory", inventory("[]")}, "no phone is listed"},
		{[]string{"--interface", "eth0", "--inventory", inventory("[{")}, "unexpected EOF"},
		{[]string{"--interface", "eth0", "--inventory", inventory(`[{"mac":"x"}]`)}, `phone 1: "x" is no phone's MAC address`},
		{[]string{"--interface", "eth0", "--inventory", inventory(`[{"mac":"010000000001"}]`)}, "is no phone's MAC address"},
		{[]string{"--interface", "eth0", "--inventory", inventory(`[{"mac":"001565000001","number":"1"}]`)}, `unknown field "number"`},
		{[]string{"--interface", "eth0", "--inventory", inventory(`[{"mac":"001565000001"},{"mac":"00:15:65:00:00:01"}]`)}, "phone 2: phone 1 has the MAC 00:15:65:00:00:01 already"},
	} {
		var out, errs bytes.Buffer
		if status := run(context.Background(), c.args, &out, &errs); status != exitUsage || !strings.Contains(errs.String(), c.want) || out.Len() > 0 {
			t.Errorf("%q: exit status %d, %q, want %d, %q", c.args, status, errs.String(), exitUsage, c.want)
		}
	}
}

func TestHelp(t *testing.T) {
	var out, errs bytes.Buffer
	if status := run(context.Background(), []string{"--help"}, &out, &errs); status != exitOK || !strings.Contains(errs.String(), "--interface CARD") {
		t.Errorf("exit status %d, %s", status, errs.String())
	}
}

func TestNoSuchCard(t *testing.T) {
	for card, want := range map[string]string{"nosuch0": "no network card nosuch0", "lo": "lo is not an Ethernet card"} {
		var out, errs bytes.Buffer
		if status := run(context.Background(), []string{"--interface", card}, &out, &errs); status != exitFailed || !strings.HasPrefix(errs.String(), "phonesim: "+want) {
			t.Errorf("exit status %d, %s", status, errs.String())
		}
	}
}

func TestFleet(t *testing.T) {
	f := flags{phones: 3, model: "T46S", prefix: "80:5e:c0"}
	phones, err := f.fleet()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range phones {
		got = append(got, p.MAC.String()+" "+p.Model)
	}
	want := []string{"80:5e:c0:fe:00:01 T46S", "80:5e:c0:fe:00:02 T46S", "80:5e:c0:fe:00:03 T46S"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	f.phones = maxPhones
	if phones, err = f.fleet(); err != nil || phones[maxPhones-1].MAC.String() != "80:5e:c0:ff:00:00" {
		t.Errorf("the last is %v, %v", phones[maxPhones-1].MAC, err)
	}
}

func TestReadInventory(t *testing.T) {
	phones, err := readInventory([]byte(`[{"mac":"001565AAbb01","model":"T42U","extension":"100"},{"mac":"80-5e-c0-00-00-02"}]`))
	if err != nil || len(phones) != 2 {
		t.Fatal(phones, err)
	}
	if p := phones[0]; p.MAC.String() != "00:15:65:aa:bb:01" || p.Model != "T42U" || p.Extension != "100" {
		t.Errorf("first %+v", p)
	}
	if p := phones[1]; p.MAC.String() != "80:5e:c0:00:00:02" || p.Model != "" || p.Extension != "" {
		t.Errorf("second %+v", p)
	}
}
