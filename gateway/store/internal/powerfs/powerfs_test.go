package powerfs

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// mounted shows d until the end of the test, or until it is unmounted.
func mounted(t *testing.T, d *Disk) (dir string, unmount func()) {
	t.Helper()
	dir = t.TempDir()
	stop, err := d.Mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	done := false
	unmount = func() {
		if done {
			return
		}
		done = true
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(unmount)
	return dir, unmount
}

// write writes b at the start of the file, and syncs the file if it shall.
func write(t *testing.T, path string, b []byte, sync bool) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if sync {
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatWasSyncedOutlivesTheCutAndTheRestIsTornBetweenSectors(t *testing.T) {
	old, now := bytes.Repeat([]byte("o"), 3*pageSize+100), bytes.Repeat([]byte("n"), 3*pageSize+100)
	lost, kept, torn := 0, 0, 0
	for seed := range uint64(20) {
		d := New(seed)
		dir, unmount := mounted(t, d)
		if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "a", "b", "synced"), old, true)
		write(t, filepath.Join(dir, "a", "changed"), old, true)
		write(t, filepath.Join(dir, "a", "changed"), now, false)
		next := d.Cut()
		if err := os.WriteFile(filepath.Join(dir, "late"), old, 0o600); err == nil {
			t.Error("a write after the cut has succeeded")
		}
		unmount()
		dir, unmount = mounted(t, next)
		if b, err := os.ReadFile(filepath.Join(dir, "a", "b", "synced")); err != nil || !bytes.Equal(b, old) {
			t.Errorf("seed %d: the synced file has %d bytes, error %v", seed, len(b), err)
		}
		b, err := os.ReadFile(filepath.Join(dir, "a", "changed"))
		if err != nil || len(b) != len(old) {
			t.Fatalf("seed %d: %d bytes, error %v", seed, len(b), err)
		}
		for at := 0; at < len(b); at += sectorSize {
			sector := b[at:min(at+sectorSize, len(b))]
			if n := bytes.Count(sector, []byte("n")); n != 0 && n != len(sector) {
				t.Fatalf("seed %d: the sector at %d is torn", seed, at)
			}
		}
		switch n := bytes.Count(b, []byte("n")); n {
		case 0:
			lost++
		case len(b):
			kept++
		default:
			torn++
		}
		unmount()
	}
	if lost == 0 || torn == 0 {
		t.Errorf("the change was lost %d times, kept %d times, torn %d times: the cut has not tried all", lost, kept, torn)
	}
}

func TestNamesThatWereNotSyncedMayGoTheOthersMayNot(t *testing.T) {
	gone := 0
	for seed := range uint64(20) {
		d := New(seed)
		dir, unmount := mounted(t, d)
		write(t, filepath.Join(dir, "new"), []byte("x"), true)
		if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "final")); err != nil {
			t.Fatal(err)
		}
		root, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := root.Sync(); err != nil {
			t.Fatal(err)
		}
		_ = root.Close()
		write(t, filepath.Join(dir, "unsynced"), []byte("x"), false)
		if err := os.Remove(filepath.Join(dir, "final")); err != nil {
			t.Fatal(err)
		}
		next := d.Cut()
		unmount()
		dir, unmount = mounted(t, next)
		_, final := os.Stat(filepath.Join(dir, "final"))
		_, unsynced := os.Stat(filepath.Join(dir, "unsynced"))
		if _, err := os.Stat(filepath.Join(dir, "new")); err == nil {
			t.Errorf("seed %d: the old name of a synced rename is back", seed)
		}
		if final != nil && unsynced != nil {
			t.Errorf("seed %d: the later change of names is on the disk without the earlier", seed)
		}
		if final == nil && unsynced != nil {
			gone++
		}
		unmount()
	}
	if gone == 0 {
		t.Error("a name that was not synced has outlived every cut")
	}
}

func TestACutComesAtThePlannedChange(t *testing.T) {
	d := New(1)
	dir, unmount := mounted(t, d)
	d.CutAfter(2)
	write(t, filepath.Join(dir, "f"), []byte("x"), false) // made, written
	select {
	case <-d.Down():
		t.Error("the power is cut too early")
	default:
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err == nil {
		t.Error("the third change has succeeded")
	}
	<-d.Down()
	unmount()
}

// What badger does: it writes by a shared mapping and syncs by msync. The test
// binary is its own second process, because this one serves the mount.
func TestASyncOfASharedMappingIsSeen(t *testing.T) {
	d := New(3)
	dir, unmount := mounted(t, d)
	path := filepath.Join(dir, "mapped")
	if out, err := inOtherProcess(path); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	next := d.Cut()
	unmount()
	dir, unmount = mounted(t, next)
	defer unmount()
	b, err := os.ReadFile(filepath.Join(dir, "mapped"))
	if err != nil || len(b) != 2*pageSize || string(b[:6]) != "synced" {
		t.Errorf("after the cut: %d bytes, %q, error %v", len(b), b[:min(len(b), 6)], err)
	}
}
