package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// runner tries mutants one after the other: each keeps the processors busy by itself.
type runner struct {
	out     io.Writer
	limit   time.Duration // of the tests of one mutant
	mutants []mutant
	bad     []string // what has to be mended, in the order in which it was found
}

// A verdict is what became of one run of tests.
type verdict string

const (
	green    verdict = "green"    // the tests pass
	red      verdict = "red"      // a test fails
	unbuilt  verdict = "unbuilt"  // it does not compile
	untested verdict = "untested" // there is no test of that name
	gone     verdict = "gone"     // the line is no longer there
)

// check tells for each mutant whether its line is there.
func (r *runner) check() int {
	for _, m := range r.mutants {
		if _, err := m.text(); err != nil {
			r.report(m.String(), gone, err.Error())
		}
	}
	return r.end(0)
}

// run tries every mutant. The tests run first as they are, because what fails by itself would show nothing.
func (r *runner) run(ctx context.Context) int {
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		r.report("a temporary directory", gone, err.Error())
		return r.end(0)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	r.untouched(ctx)
	killed := 0
	for i, m := range r.mutants {
		if ctx.Err() != nil {
			r.report("the run", gone, "interrupted")
			break
		}
		began := time.Now()
		v, detail := r.try(ctx, dir, m)
		r.printf("[%d/%d] %-8s %5.1fs  %s\n", i+1, len(r.mutants), v, time.Since(began).Seconds(), m)
		switch v {
		case red:
			killed++
			r.printf("%s", detail)
		case green:
			r.report(m.String(), "survived", strings.Join(m.tests, ", ")+" pass: say the sentence in a test")
		default:
			r.report(m.String(), v, detail)
		}
	}
	return r.end(killed)
}

// untouched runs every named test once, a package at a time, without a change.
func (r *runner) untouched(ctx context.Context) {
	byPackage := map[string][]string{}
	for _, m := range r.mutants {
		for _, name := range m.tests {
			if !slices.Contains(byPackage[m.pkg], name) {
				byPackage[m.pkg] = append(byPackage[m.pkg], name)
			}
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(byPackage)) {
		began := time.Now()
		v, out := r.test(ctx, "", pkg, byPackage[pkg])
		r.printf("[as it is] %-8s %5.1fs  %s\n", v, time.Since(began).Seconds(), pkg)
		if v != green {
			r.report(pkg+" as it is", v, out)
		}
	}
}

// try runs the tests of one mutant.
func (r *runner) try(ctx context.Context, dir string, m mutant) (verdict, string) {
	text, err := m.text()
	if err != nil {
		return gone, err.Error()
	}
	overlay, err := write(dir, m, text)
	if err != nil {
		return gone, err.Error()
	}
	return r.test(ctx, "-overlay="+overlay, m.pkg, m.tests)
}

// text is the mutated file.
func (m *mutant) text() (string, error) {
	b, err := os.ReadFile(filepath.FromSlash(m.file))
	if err != nil {
		return "", err
	}
	return m.apply(string(b))
}

// write puts the mutated file beside an overlay that names it, and returns the overlay's path.
func write(dir string, m mutant, text string) (string, error) {
	real, err := filepath.Abs(filepath.FromSlash(m.file))
	if err != nil {
		return "", err
	}
	changed, overlay := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	paths, err := json.Marshal(map[string]map[string]string{"Replace": {real: changed}})
	return overlay, errors.Join(err, os.WriteFile(changed, []byte(text), 0o600), os.WriteFile(overlay, paths, 0o600))
}

// test runs tests of one package and returns what they wrote, if it is needed to understand the verdict.
func (r *runner) test(ctx context.Context, flag, pkg string, tests []string) (verdict, string) {
	ctx, cancel := context.WithTimeout(ctx, r.limit+time.Minute) // the test ends itself before; compiling takes time too
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-vet=off", "-timeout="+r.limit.String(), //nolint:gosec // our own list
		"-run=^("+strings.Join(tests, "|")+")$", "-v", "./"+pkg)
	cmd.Env = append(os.Environ(), "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" "+flag))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that what the test started ends with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	b, err := cmd.CombinedOutput()
	out := string(b)
	for _, name := range tests {
		if ran, bad := regexp.MatchString("(?m)^=== RUN   "+name+"$", out); err == nil && (!ran || bad != nil) {
			return untested, "there is no " + name
		}
	}
	switch {
	case err == nil && strings.Contains(out, "--- SKIP"):
		return untested, "skipped:\n" + tail(out)
	case err == nil:
		return green, ""
	case strings.Contains(out, "[build failed]"), strings.Contains(out, "[setup failed]"):
		return unbuilt, tail(out)
	}
	return red, failed(out)
}

var failedTest = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)

// failed names the tests that failed, a line each; none where the process ended before it could say so.
func failed(out string) string {
	var b strings.Builder
	for _, m := range failedTest.FindAllStringSubmatch(out, -1) {
		b.WriteString("        " + m[1] + "\n")
	}
	return b.String()
}

func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}

func (r *runner) report(what string, v verdict, detail string) {
	r.bad = append(r.bad, fmt.Sprintf("%s: %s: %s", v, what, detail))
}

func (r *runner) end(killed int) int {
	for _, line := range r.bad {
		r.printf("%s\n", line)
	}
	r.printf("%d mutants, %d red, %d to mend\n", len(r.mutants), killed, len(r.bad))
	if len(r.bad) > 0 {
		return 1
	}
	return 0
}

func (r *runner) printf(format string, args ...any) { _, _ = fmt.Fprintf(r.out, format, args...) }
