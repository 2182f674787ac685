package disk_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sae-agent/sae-agent/internal/disk"
)

func TestUnmounted(t *testing.T) {
	root := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(root, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	usb, nas, spaced := filepath.Join(root, "usb"), filepath.Join(root, "nas"), filepath.Join(root, "two words")
	fstab := file("fstab", "# what is mounted\nUUID=1 / ext4 defaults 0 1\nUUID=2 none swap sw 0 0\n\nUUID=3 "+usb+"/ ext4 nofail 0 2\nnas:/x "+nas+" nfs _netdev 0 0\n"+
		"UUID=4 "+filepath.Join(root, `two\040words`)+" ext4 nofail 0 2\n")
	mounted := file("mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 0:40 / "+nas+" rw shared:1 - autofs systemd-1 rw\n")
	if err := os.Mkdir(usb, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(root, "link")
	if err := os.Symlink(usb, link); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		usb: usb, filepath.Join(usb, "a/b"): usb, filepath.Join(link, "a"): usb, filepath.Join(spaced, "a"): spaced,
		usb + "2": "", nas: "", filepath.Join(nas, "a"): "", "/var/backups/none": "",
	} {
		if got, err := disk.Unmounted(dir, fstab, mounted); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", dir, got, err, want)
		}
	}
	if got, err := disk.Unmounted(usb, filepath.Join(root, "absent"), mounted); got != "" || err != nil {
		t.Errorf("without a table: %q, %v", got, err)
	}
	if _, err := disk.Unmounted(usb, fstab, filepath.Join(root, "absent")); err == nil {
		t.Error("what is mounted cannot be read, and that is no error")
	}
}
