package config

import (
	"fmt"
	"path/filepath"

	"filippo.io/age"

	"github.com/sae-agent/sae-agent/agent/backup"
)

func (v *checker) backup() {
	b := v.Backup
	if v.ok("backup.dir") && (!filepath.IsAbs(b.Dir) || filepath.Clean(b.Dir) != b.Dir) {
		v.fail("backup.dir", "write it from the root on, such as /var/backups/sae-agent", "%q is not an absolute path", b.Dir)
	}
	if v.ok("backup.keep") && (b.Keep < 1 || b.Keep > 1000) {
		v.fail("backup.keep", "write a number from 1 to 1000", "%d archives cannot be kept", b.Keep)
	}
	if _, err := backup.ParseRemote(b.Remote); v.ok("backup.remote") && b.Remote != "" && err != nil {
		v.fail("backup.remote", "write rclone:NAME:PATH, or sftp://USER@HOST/PATH without a password", "%q is no remote place", b.Remote)
	}
	for i, r := range b.Recipients {
		at := fmt.Sprintf("backup.recipients[%d]", i)
		if !v.ok("backup.recipients", at) {
			continue
		}
		if _, err := age.ParseX25519Recipient(r); err != nil { // not quoted: it may be the secret key
			v.fail(at, "write the line that 'age-keygen' prints as the public key, age1…", "is not a public key of age")
		}
	}
}
