package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const source = `package m

func limit(n int) int {
	if n > 5 {
		return 5
	}
	if n < 0 {
		return 5
	}
	return n
}
`

const tested = `package m

import "testing"

func TestAbove(t *testing.T) {
	if limit(7) != 5 {
		t.Error("above")
	}
}

func TestHang(t *testing.T) {
	if limit(6) != 5 {
		select {}
	}
}

func TestLater(t *testing.T) { t.Skip("later") }
`

// TestVerdicts runs a list in a module of its own, in which every verdict occurs.
func TestVerdicts(t *testing.T) {
	list := `# a comment

What is above five is five.
m.go
-	if n > 5 {
+	if n > 50 {
red: . TestAbove

What is above five is five, or the test hangs.
m.go
-	if n > 5 {
+	if n > 6 {
red: . TestHang

What is below zero is five.
m.go
-	if n < 0 {
+	if n < -100 {
red: . TestAbove

Nine is a limit.
m.go
-	if n > 9 {
+	if n > 90 {
red: . TestAbove

Five is five.
m.go
-		return 5
+		return 6
red: . TestAbove

Zero is above.
m.go
 	if n > 5 {
-		return 5
+		return six
red: . TestAbove

It is said by a test that is gone.
m.go
-	return n
+	return 0
red: . TestGone

It is said later.
m.go
-	return n
+	return 0
red: . TestLater
`
	text, code := runIn(t, list, "-timeout=2s")
	for _, want := range []string{
		"] red ",
		"[1/8] red",
		"[2/8] red",
		"survived: m.go: What is below zero is five.: TestAbove pass",
		"gone: m.go: Nine is a limit.: the line is no longer there",
		"gone: m.go: Five is five.: the line is there 2 times",
		"unbuilt: m.go: Zero is above.: ",
		"untested: m.go: It is said by a test that is gone.: there is no TestGone",
		"untested: m.go: It is said later.: skipped",
		"8 mutants, 2 red, ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if code != 1 || t.Failed() {
		t.Errorf("exit code %d\n%s", code, text)
	}
	if b, err := os.ReadFile("m.go"); err != nil || string(b) != source {
		t.Errorf("the source was changed: %v\n%s", err, b)
	}
	if text, code := runIn(t, list, "-check"); code != 1 || !strings.Contains(text, "8 mutants, 0 red, 2 to mend") {
		t.Errorf("-check: exit code %d\n%s", code, text)
	}
}

// TestAllRed: the exit code is 0 when every mutant is red, and only then.
func TestAllRed(t *testing.T) {
	list := "Five.\nm.go\n-\tif n > 5 {\n+\tif n > 50 {\nred: . TestAbove\n"
	if text, code := runIn(t, list); code != 0 || !strings.Contains(text, "1 mutants, 1 red, 0 to mend") {
		t.Errorf("exit code %d\n%s", code, text)
	}
	red := strings.Replace(tested, "limit(7)", "limit(4)", 1) // fails as it is
	if text, code := runFiles(t, list, red); code != 1 || !strings.Contains(text, "red: . as it is") {
		t.Errorf("a test that fails by itself: exit code %d\n%s", code, text)
	}
}

// TestBadLists: a list that says less than a mutant needs is refused, with the line.
func TestBadLists(t *testing.T) {
	for list, want := range map[string]string{
		"Alone.\n":                                         "mutants.txt:1: no file",
		"\nNo change.\nm.go\n x\nred: . T\n":               "mutants.txt:2: no line that is changed",
		"The same.\nm.go\n-x\n+x\nred: . T\n":              "mutants.txt:1: the line is the same",
		"No test.\nm.go\n-x\n+y\n":                         "mutants.txt:1: no test",
		"A package only.\nm.go\n-x\n+y\nred: .\n":          "mutants.txt:5: want a line",
		"Who knows.\nm.go\n-x\n+y\nred: . T\ngreen: . T\n": "mutants.txt:6: want a line",
		"# nothing\n":                                      "no mutant matches",
	} {
		if text, code := runIn(t, list); code != 2 || !strings.Contains(text, want) {
			t.Errorf("%q: exit code %d, %s", list, code, text)
		}
	}
}

func runIn(t *testing.T, list string, args ...string) (string, int) {
	t.Helper()
	return runFiles(t, list, tested, args...)
}

func runFiles(t *testing.T, list, test string, args ...string) (string, int) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":      "module example.org/m\n\ngo 1.24\n",
		"m.go":        source,
		"m_test.go":   test,
		"mutants.txt": list,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	var out strings.Builder
	code := run(t.Context(), append([]string{"-list=mutants.txt"}, args...), &out, &out)
	return out.String(), code
}
