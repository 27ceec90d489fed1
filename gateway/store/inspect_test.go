package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// picture is every file below dir with its mode, its times and its content.
func picture(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		all[path] = fmt.Sprint(info.Mode(), info.ModTime(), info.Size())
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			all[path] += string(b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestInspectAgreesWithOpen: what the one refuses the other refuses, and Inspect changes nothing.
func TestInspectAgreesWithOpen(t *testing.T) {
	key := func(b byte) KeySource { return func() ([]byte, error) { return bytes.Repeat([]byte{b}, 32), nil } }
	filled := func(t *testing.T, dir string, o Options) {
		s, stop := open(t, dir, o)
		if err := s.Cache().WriteGeneration(context.Background(), filledGeneration()); err != nil {
			t.Fatal(err)
		}
		stop()
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, dir string, o *Options)
		want    error // nil: any error, if bad
		bad     bool
	}{
		"not there":     {func(*testing.T, string, *Options) {}, nil, false},
		"its own key":   {func(t *testing.T, dir string, o *Options) { filled(t, dir, *o) }, nil, false},
		"the right key": {func(t *testing.T, dir string, o *Options) { o.Key = key(1); filled(t, dir, *o) }, nil, false},
		"another key": {
			func(t *testing.T, dir string, o *Options) { o.Key = key(1); filled(t, dir, *o); o.Key = key(2) },
			ErrWrongKey, true,
		},
		"the key is gone": {func(t *testing.T, dir string, o *Options) {
			filled(t, dir, *o)
			_ = os.Remove(filepath.Join(dir, "key"))
		}, ErrWrongKey, true},
		"a short key": {func(t *testing.T, dir string, o *Options) {
			filled(t, dir, *o)
			_ = os.WriteFile(filepath.Join(dir, "key"), []byte("short"), 0o600)
		}, nil, true},
		"a cache of another build": {func(t *testing.T, dir string, o *Options) {
			filled(t, dir, *o)
			b, err := tryBase(dir, spec{name: "cache", memTable: memTable}, o.withDefaults())
			if err != nil {
				t.Fatal(err)
			}
			b.head.schema = schema + 1
			if err := errors.Join(b.commitLocked(nil, true), b.close()); err != nil {
				t.Fatal(err)
			}
		}, ErrSchema, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			o := testOptions()
			c.prepare(t, dir, &o)
			var before map[string]string
			if _, err := os.Stat(dir); err == nil {
				before = picture(t, dir)
			}
			inUse, err := Inspect(dir, o)
			if inUse || (err != nil) != c.bad || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("Inspect: %v, %v", inUse, err)
			}
			if before == nil {
				if _, err := os.Stat(dir); err == nil {
					t.Error("Inspect made the directory")
				}
			} else if diff := cmp.Diff(before, picture(t, dir)); diff != "" {
				t.Errorf("Inspect changed something:\n%s", diff)
			}
			s, err := Open(dir, o)
			if (err != nil) != c.bad || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("Open: %v", err)
			}
			if err == nil {
				_ = s.Close()
			}
		})
	}
}

func TestInspectLeavesAStoreInUseAlone(t *testing.T) {
	dir := t.TempDir()
	_, stop := open(t, dir, testOptions())
	if inUse, err := Inspect(dir, testOptions()); !inUse || err != nil || !InUse(dir) {
		t.Errorf("while it is open: %v, %v", inUse, err)
	}
	stop()
	if inUse, err := Inspect(dir, testOptions()); inUse || err != nil || InUse(dir) {
		t.Errorf("after that: %v, %v", inUse, err)
	}
	_, stop = open(t, dir, testOptions()) // Inspect has let go of it
	stop()
}

// TestInspectNamesForeignFiles: what a run by root left behind, as the service's user sees it.
func TestInspectNamesForeignFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	const nobody = 65534
	dir := filepath.Join(t.TempDir(), "state")
	_, stop := open(t, dir, testOptions())
	stop()
	for up := filepath.Dir(dir); up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o711); err != nil { //nolint:gosec // so that nobody gets as far as the state
			t.Fatal(err)
		}
	}
	as := func(path string) error {
		found := make(chan error)
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and with it who it was
			if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), nobody, ^uintptr(0)); e != 0 {
				found <- e
				return
			}
			found <- accessible(path)
		}()
		return <-found
	}
	if err := as(dir); err == nil {
		t.Error("a directory of root is said to be accessible")
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if err := as(dir); !errors.As(err, &e) || !strings.HasPrefix(e.Path, dir+"/") || !strings.Contains(e.Hint, "chown -R") {
		t.Errorf("files of root in a directory of nobody: %v", err)
	}
	entries, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range entries {
		if err := os.Chown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	if err := as(dir); err != nil {
		t.Errorf("all of it belongs to nobody: %v", err)
	}
}
