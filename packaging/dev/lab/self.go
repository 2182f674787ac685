package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Self returns the path of this program's file, by which the hosts of a lab can start it again. os.Executable will not
// do: in a lab that was entered inside a chroot, the kernel names the file as it is seen from outside.
func Self() (string, error) {
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return "", fmt.Errorf("lab: find my own program: %w", err)
	}
	return filepath.Abs(path)
}
