package sshd

import (
	"os"
	"path/filepath"
)

// PasswordLogin reports whether the server lets somebody in by a password: by its
// configuration below root, for everybody (sshd_config(5)). false too without a server.
func PasswordLogin(root string) bool {
	if _, err := os.Stat(filepath.Join(root, "/etc/ssh/sshd_config")); err != nil {
		return false
	}
	// The first value of a key counts; these are those of a file that says nothing.
	asked := map[string]string{"passwordauthentication": "yes", "kbdinteractiveauthentication": "yes"}
	seen := make(map[string]bool)
	each(root, "/etc/ssh/sshd_config", maxDepth, func(key, value string) {
		if key == "challengeresponseauthentication" { // its old name
			key = "kbdinteractiveauthentication"
		}
		if _, known := asked[key]; known && !seen[key] {
			asked[key], seen[key] = value, true
		}
	})
	return asked["passwordauthentication"] != "no" || asked["kbdinteractiveauthentication"] != "no"
}
