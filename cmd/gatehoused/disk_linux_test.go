package main

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of a given size; without the right to mount the test is left out
// (gateway's own test measures free space through a stand-in then).
func smallDisk(t *testing.T, dir, size string) {
	t.Helper()
	if err := mountDisk(t, dir, size); err != nil {
		t.Skipf("a file system of its own cannot be mounted here: %v", err)
	}
}

func mountDisk(t *testing.T, dir, size string) error {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+",mode=0700"); err != nil {
		return err
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return nil
}
