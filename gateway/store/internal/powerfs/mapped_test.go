package powerfs

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

const mappedEnv = "POWERFS_MAP"

func TestMain(m *testing.M) {
	if path := os.Getenv(mappedEnv); path != "" {
		if err := writeMapped(path); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func inOtherProcess(path string) ([]byte, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, "-test.run=^$")
	cmd.Env = append(os.Environ(), mappedEnv+"="+path)
	return cmd.CombinedOutput()
}

// writeMapped makes a file of two pages, writes to it by a mapping, and syncs that.
func writeMapped(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := f.Truncate(2 * pageSize); err != nil {
		return err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, 2*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(b, "synced")
	return unix.Msync(b, unix.MS_SYNC)
}
