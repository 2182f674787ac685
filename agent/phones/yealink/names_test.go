package yealink

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestIsPhones(t *testing.T) {
	for name, want := range map[string]bool{
		"001565aabbcc.cfg": true, "001565AABBCC.CFG": true, "001565aabbcc.cfg.bak": true, "001565aabbcc-local.cfg": true,
		"00:15:65:aa:bb:cc.cfg": true, "001565-aabbcc.cfg": true, " 001565aabbcc.cfg": true, "00-15-65-AA-BB-CC.cfg": true,
		"0015.65aa.bbcc": true, "00_15_65_aa_bb_cc.txt": true, "001565 aabbcc .cfg": true, "\u00a0001565aabbcc.cfg": true,
		"a8-5e-45-00-00-01.cfg": true, "phones/00:15:65:aa:bb:cc.cfg": true, `phones\00:15:65:aa:bb:cc.cfg`: true,
		"y000000000116.cfg": true, "Y0000 00000116.cfg": true, "y-000000000116.boot": true,
		"ring.wav": false, "T42U-108.86.0.75.rom": false, "108.86.0.75.rom": false, "2024-10-11-1200.wav": false,
		"common.cfg": false, "deadbeef.cfg": false, "": false, "-": false, "yealink.cfg": false,
	} {
		if got := IsPhones(name); got != want {
			t.Errorf("%q: %t", name, got)
		}
	}
}

func TestHoldsPassword(t *testing.T) {
	for text, want := range map[string]string{
		"#!version:1.0.0.1\naccount.1.password = geheim\n":        "account.1.password",
		"account.1.pasword=geheim":                                "account.1.pasword",
		"\ufeffstatic.security.user_password = admin:geheim\r":    "static.security.user_password",
		"security.user_password=user:geheim\nx":                   "security.user_password",
		"[ account ]\r\npath = /config/x\r\nPassword = geheim":    "password",
		"static.auto_provision.aes_key_16.mac = 0123456789abcdef": "static.auto_provision.aes_key_16.mac",
		"phone_setting.phone_lock.unlock_pin = 123":               "phone_setting.phone_lock.unlock_pin",
		"account.1.password =\naccount.2.password = %NULL%\n":     "",
		"# account.1.password = geheim":                           "",
		"features.password_dial.enable = 1\nlang.gui = French":    "",
		"static.auto_provision.aes_key_in_file = 0":               "",
		"a ring tone": "",
		"":            "",
	} {
		if got := HoldsPassword([]byte(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// Of all keys that are known, these are secret.
func TestPasswordKeys(t *testing.T) {
	table, err := os.ReadFile("testdata/keys.txt")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/password-keys.golden")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 0 && isPassword(fields[0]) {
			got = append(got, fields[0])
		}
	}
	slices.Sort(got)
	if text := strings.Join(slices.Compact(got), "\n") + "\n"; text != string(want) {
		t.Errorf("got:\n%s", text)
	}
}
