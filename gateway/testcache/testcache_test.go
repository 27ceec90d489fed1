package testcache

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const (
	module  = "module example.org/m\n\ngo 1.24\n"
	program = "package main\n\nimport _ \"example.org/m/part\"\n\nfunc main() {}\n"
	part    = "package part\n\nconst Answer = 1\n"
	// tested lists another package by the go command, and opens its sources if the test is to be seen by the cache.
	tested = `package m

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func Test(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{$.Dir}}{{end}}", "./program").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dir := range strings.FieldsSeq(string(out)) {
		if _, err := os.ReadDir(dir); err != nil {
			t.Fatal(err)
		}
	}
}
`
)

// TestSourcesAreThoseOfTheProgram: the directories of a program and of what it imports are found, and no others.
func TestSourcesAreThoseOfTheProgram(t *testing.T) {
	dir := write(t)
	t.Chdir(dir)
	s, err := Of("./program")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.dirs) != 2 || filepath.Base(s.dirs[0]) != "part" || filepath.Base(s.dirs[1]) != "program" {
		t.Errorf("directories %q", s.dirs)
	}
	if len(s.files) != 2 || filepath.Base(s.files[0]) != "go.mod" || filepath.Base(s.files[1]) != "go.sum" {
		t.Errorf("files %q", s.files)
	}
	if err := s.Open(); err != nil {
		t.Error(err)
	}
	if _, err := Of("./nowhere"); err == nil {
		t.Error("the sources of a package that does not exist were found")
	}
}

// TestOpenedDirectoriesDecideTheCache: the go command in use keeps the result of a test that opened the
// directories of its sources while these are the same, and runs the test again when a file of them changes.
func TestOpenedDirectoriesDecideTheCache(t *testing.T) {
	dir := write(t)
	cached := func() bool {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", "test", ".")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return bytes.Contains(out, []byte("(cached)"))
	}
	if cached() {
		t.Fatal("the first run was answered by the cache")
	}
	if !cached() {
		t.Fatal("an unchanged tree was tested again")
	}
	old := time.Now().Add(-time.Hour)
	put(t, dir, "part/part.go", "package part\n\nconst Answer = 42\n", old)
	if cached() {
		t.Fatal("a changed source of the program was answered by the cache")
	}
	put(t, dir, "part/more.go", "package part\n", old)
	if cached() {
		t.Fatal("a new source of the program was answered by the cache")
	}
	if !cached() {
		t.Fatal("an unchanged tree was tested again, after a change")
	}
}

// write makes a module whose files are old enough for the cache, which takes no result about a file of the last seconds.
func write(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"go.mod":             module,
		"go.sum":             "",
		"m_test.go":          tested,
		"program/program.go": program,
		"part/part.go":       part,
	} {
		put(t, dir, name, text, time.Now().Add(-2*time.Hour))
	}
	return dir
}

func put(t *testing.T, dir, name, text string, changed time.Time) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, changed, changed); err != nil {
		t.Fatal(err)
	}
}
