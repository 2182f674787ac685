package yealink

import (
	"bytes"
	"strings"
)

// HoldsPassword returns the first key of a configuration file that has a password, PIN
// or encryption key for its value; empty if there is none.
func HoldsPassword(file []byte) string {
	file = bytes.TrimPrefix(file, []byte("\ufeff"))
	for line := range bytes.Lines(file) {
		k, v, ok := strings.Cut(string(line), "=")
		k, v = strings.ToLower(strings.TrimSpace(k)), strings.TrimSpace(v)
		if !ok || strings.HasPrefix(k, "#") || v == "" || strings.EqualFold(v, "%NULL%") {
			continue
		}
		if isPassword(k) {
			return k
		}
	}
	return ""
}

// isPassword reports whether a key's value is secret. The misspelled one is of manuals
// that are followed to the letter.
func isPassword(key string) bool {
	switch key {
	case "features.export_cfg_erase_pwd", "default_input_method.xsi_password", "static.auto_provision.aes_key_in_file":
		return false // switches
	}
	if strings.Contains(key, ".aes_key") {
		return true
	}
	last := key[strings.LastIndexByte(key, '.')+1:]
	for _, end := range []string{"password", "passwd", "pasword", "pwd", "pin", "psk", "secret", "token"} {
		if last == end || strings.HasSuffix(last, "_"+end) {
			return true
		}
	}
	return false
}
