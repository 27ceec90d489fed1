package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestSealingKeyIsLookedAt: while the store is open, it is told that the key's file is gone or another
// one; looking makes no new key, which would hide it until the next start.
func TestSealingKeyIsLookedAt(t *testing.T) {
	dir := t.TempDir()
	s, stop := open(t, dir, testOptions())
	defer stop()
	if err := s.SealingKey(); err != nil {
		t.Errorf("at first: %v", err)
	}
	path := filepath.Join(dir, "key")
	own, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := s.SealingKey(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the file: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("looking for the key made another")
	}
	if err := os.WriteFile(path, make([]byte, 32), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.SealingKey(); !errors.Is(err, ErrWrongKey) {
		t.Errorf("with another key: %v", err)
	}
	if err := os.WriteFile(path, own, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.SealingKey(); err != nil {
		t.Errorf("with the file back: %v", err)
	}
}
