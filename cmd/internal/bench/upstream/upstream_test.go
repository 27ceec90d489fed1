package main

import (
	"context"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// A run that could mean nothing is refused before anything starts.
func TestRefusesWhatWouldMeanNothing(t *testing.T) {
	for name, o := range map[string]options{
		"no rounds":      {scale: 1},
		"scale 0":        {rounds: 1},
		"scale above 1":  {rounds: 1, scale: 2},
		"an unknown one": {rounds: 1, scale: 1, parts: "acept"},
	} {
		if _, err := run(context.Background(), o); err == nil {
			t.Errorf("%s: it runs", name)
		}
	}
	t.Setenv("CHECK", "1")
	if _, err := run(context.Background(), options{rounds: 1, scale: 0.5}); err == nil {
		t.Error("bars are held against figures that are not theirs")
	}
}

// A directory in memory is no disk.
func TestRefusesADirectoryInMemory(t *testing.T) {
	const shm = "/dev/shm"
	var st unix.Statfs_t
	if err := unix.Statfs(shm, &st); err != nil || st.Type != unix.TMPFS_MAGIC {
		t.Fatal("a tmpfs at /dev/shm is needed for this test")
	}
	if err := onDisk(shm); err == nil {
		t.Error("tmpfs passes for a disk")
	}
}

// The bare loop syncs a file that it removes.
func TestAppendLoop(t *testing.T) {
	dir := t.TempDir()
	if rate, err := appendLoop(dir, 10); err != nil || rate <= 0 {
		t.Fatalf("%v a second, %v", rate, err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		t.Errorf("left behind: %v, %v", list, err)
	}
}
