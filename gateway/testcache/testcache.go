// Package testcache tells `go test` which sources a test reads by way of a program that it runs, such as
// the go command that builds a daemon or lists packages.
//
// Without -count=1, `go test` answers "ok (cached)" while nothing has changed that the test process itself
// was built from, or opened, between the start and the end of testing.M.Run. What a child process opens
// does not count, so that a changed daemon would pass with the result of the old one. Sources.Open opens
// the directories of the sources in the test process: `go test` then compares the names, sizes and times
// of all files in them.
package testcache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Sources are the directories of packages, and files that are part of these packages but lie elsewhere.
type Sources struct{ dirs, files []string }

// Of finds the sources of packages, and of every package of the main module that they import. It asks the
// go command, in the working directory. The files include go.mod, go.sum and what is embedded.
func Of(patterns ...string) (Sources, error) {
	const format = `{{with .Module}}{{if .Main}}{{$.Dir}}{{"\n"}}{{.GoMod}}{{"\n"}}` +
		`{{range $.EmbedFiles}}{{$.Dir}}/{{.}}{{"\n"}}{{end}}{{end}}{{end}}`
	args := append([]string{"list", "-deps", "-f", format}, patterns...)
	out, err := exec.CommandContext(context.Background(), "go", args...).Output()
	if err != nil {
		return Sources{}, fmt.Errorf("go list: %w", errors.Join(err, errors.New(said(err))))
	}
	var s Sources
	for line := range strings.Lines(string(out)) {
		path := filepath.FromSlash(strings.TrimSpace(line))
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		switch {
		case err != nil:
			return Sources{}, err
		case info.IsDir():
			s.dirs = append(s.dirs, path)
		case filepath.Base(path) == "go.mod":
			s.files = append(s.files, path, filepath.Join(filepath.Dir(path), "go.sum"))
		default:
			s.files = append(s.files, path)
		}
	}
	if len(s.dirs) == 0 {
		return Sources{}, fmt.Errorf("no package of the main module matches %q", patterns)
	}
	slices.Sort(s.files)
	s.files = slices.Compact(s.files)
	return s, nil
}

func said(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(exit.Stderr)
	}
	return ""
}

// Open opens each directory and asks for the state of each file. It has to be called by a test: what
// TestMain does before it calls Run is not recorded.
func (s Sources) Open() error {
	for _, dir := range s.dirs {
		if _, err := os.ReadDir(dir); err != nil {
			return err
		}
	}
	for _, file := range s.files {
		if _, err := os.Stat(file); err != nil {
			return err
		}
	}
	return nil
}

// Open is Of and Sources.Open for a test that runs the go command itself.
func Open(t testing.TB, patterns ...string) {
	t.Helper()
	s, err := Of(patterns...)
	if err == nil {
		err = s.Open()
	}
	if err != nil {
		t.Fatal(err)
	}
}
