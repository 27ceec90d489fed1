package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/cmd/internal/e2e"
	"github.com/gatehouse/gatehouse/gateway/config"
)

const configs = "testdata/configs"

// configured is a gateway with one configuration of testdata/configs: the sections of the file, those of
// base.yaml that the file lacks, and a copy of testdata/configs/files beside it.
func configured(t *testing.T, file string) *e2e.Gateway {
	t.Helper()
	g := house.NewGateway(t, e2e.Settings{})
	own := read(t, file)
	var text strings.Builder
	for line := range strings.Lines(read(t, filepath.Join(configs, "base.yaml"))) {
		section, _, _ := strings.Cut(line, ":")
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(section) + `:`).MatchString(own) {
			text.WriteString(line)
		}
	}
	g.Write(t, g.Fill(text.String()+own))
	beside, err := filepath.Glob(filepath.Join(configs, "files", "*"))
	if err != nil || len(beside) == 0 {
		t.Fatal("no files", err)
	}
	for _, f := range beside {
		put(t, filepath.Join(g.Dir, filepath.Base(f)), 0o600, read(t, f))
	}
	if err := os.Symlink("nowhere", filepath.Join(g.Dir, "dangling")); err != nil {
		t.Fatal(err)
	}
	return g
}

// left lists every file below a directory, with its mode and the time of its last change.
func left(t *testing.T, dir string) string {
	t.Helper()
	var list strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && path != dir { // a probe of the directory itself leaves its time
			list.WriteString(path + " " + info.Mode().String() + " " + info.ModTime().String() + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list.String()
}

// TestCheckSaysWhatTheStartDoes: -check calls a configuration good if and only if the daemon
// starts with it, and bad if and only if the daemon ends with code 78, for the same reasons. It
// leaves nothing behind.
func TestCheckSaysWhatTheStartDoes(t *testing.T) {
	for _, kind := range []string{"good", "bad"} {
		files, err := filepath.Glob(filepath.Join(configs, kind, "*.yaml"))
		if err != nil || len(files) < 15 {
			t.Fatalf("%d %s configurations, %v", len(files), kind, err)
		}
		for _, file := range files {
			t.Run(kind+"/"+strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
				t.Parallel()
				g := configured(t, file)
				before := left(t, g.Dir)
				check := e2e.Start(t, g.Supervisor.Env(), house.Bin("gatehoused"), "-config", g.File, "-check")
				code := check.Exit(t)
				if after := left(t, g.Dir); after != before {
					t.Errorf("before -check:\n%s\nafter it:\n%s", before, after)
				}
				if said := check.Text(); strings.Contains(read(t, file), "arned of") != strings.Contains(said, ": warning: ") {
					t.Errorf("a warning is due only where the file says so:\n%s", said)
				}
				if kind == "good" {
					if code != exitOK {
						t.Fatalf("-check ends with %d:\n%s", code, check.Text())
					}
					g.Launch(t)
					g.Ready(t)
					if code := g.Stop(t); code != exitOK {
						t.Errorf("the daemon ends with %d:\n%s", code, e2e.Tail(g.Text(), 20))
					}
					return
				}
				if code != config.ExitCode || !strings.Contains(check.Text(), "\n\tfix: ") {
					t.Fatalf("-check ends with %d:\n%s", code, check.Text())
				}
				g.Launch(t)
				if code := g.Exit(t); code != config.ExitCode || g.Text() != check.Text() {
					t.Errorf("the daemon ends with %d and says\n%s\n-check said\n%s", code, g.Text(), check.Text())
				}
			})
		}
	}
}
