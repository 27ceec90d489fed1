package store

import (
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Only badger's advice about its block cache is dropped; every other warning is passed
// on.
func TestBadgersCacheAdviceIsNotPassedOn(t *testing.T) {
	var b bytes.Buffer
	l := badgerLog{slog.New(slog.NewTextHandler(&b, nil))}
	l.Warningf("%s might be too small. Metrics: %s\n", "Block cache", "hit: 1")
	l.Warningf("Cache life expectancy (in seconds): %+v\n", 3)
	if b.Len() > 0 {
		t.Errorf("passed on: %s", &b)
	}
	l.Warningf("While running doCompact: %v\n", os.ErrPermission)
	l.Warningf("%s might be too small. Metrics: %s\n", "Index cache", "hit: 1")
	if n := strings.Count(b.String(), "level=WARN"); n != 2 {
		t.Errorf("%d warnings: %s", n, &b)
	}
	// The words are badger's: a release with others must be noticed here.
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/dgraph-io/badger/v4").Output()
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "db.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{`opt.Warningf("` + cacheWarning, `opt.Warningf("` + cacheSequel, `analyze("Block cache"`} {
		if !bytes.Contains(source, []byte(words)) {
			t.Errorf("badger does not say %s any more", words)
		}
	}
}
