package docs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The numbered statements of each version of the standard, by section: how many it has, counted from 1.
// Section 2.2.1 of MQTT 5.0 counts from 2.
var statements = map[string]string{
	"MQTT 5.0": "1.5.4:3 1.5.5:1 1.5.7:1 2.1.3:1 2.2.1:6 2.2.2:1 3.1.0:2 3.1.2:30 3.1.3:12 3.1.4:6 3.2.0:2 3.2.2:22 3.3.1:13 3.3.2:20 " +
		"3.3.4:10 3.4.2:3 3.5.2:3 3.6.1:1 3.6.2:3 3.7.2:3 3.8.1:1 3.8.3:5 3.8.4:8 3.9.2:2 3.9.3:2 3.10.1:1 3.10.3:2 3.10.4:6 3.11.2:2 " +
		"3.11.3:2 3.12.4:1 3.14.0:1 3.14.1:1 3.14.2:4 3.14.4:3 3.15.1:1 3.15.2:3 4.1.0:2 4.2:1 4.3.1:1 4.3.2:5 4.3.3:13 4.4.0:2 4.5.0:2 " +
		"4.6.0:6 4.7.0:1 4.7.1:2 4.7.2:1 4.7.3:4 4.8.2:6 4.9.0:3 4.12.0:7 4.12.1:2 4.13.1:1 4.13.2:1 6.0.0:4 7.1.2:2",
	"MQTT 3.1.1": "1.5.3:3 2.2.2:2 2.3.1:7 3.1.0:2 3.1.2:24 3.1.3:11 3.1.4:5 3.2.0:1 3.2.2:6 3.3.1:12 3.3.2:3 3.3.4:1 3.3.5:2 3.6.1:1 " +
		"3.8.1:1 3.8.3:4 3.8.4:6 3.9.3:2 3.10.1:1 3.10.3:2 3.10.4:6 3.12.4:1 3.14.1:1 3.14.4:3 4.1.0:2 4.3.1:1 4.3.2:2 4.3.3:2 4.4.0:1 " +
		"4.5.0:2 4.6.0:6 4.7.1:3 4.7.2:1 4.7.3:4 4.8.0:2 6.0.0:4 7.0.0:2 7.1.1:1 7.1.2:1",
}

// numbers lists the statements of a version, as "3.1.2-4".
func numbers(version string) (list []string) {
	for _, section := range strings.Fields(statements[version]) {
		name, count, _ := strings.Cut(section, ":")
		var n int
		_, _ = fmt.Sscan(count, &n)
		for i := 1; i <= n; i++ {
			if version != "MQTT 5.0" || name != "2.2.1" || i > 1 {
				list = append(list, fmt.Sprintf("%s-%d", name, i))
			}
		}
	}
	return list
}

var (
	statement = regexp.MustCompile(`\b\d+\.\d+(?:\.\d+)?-\d+\b`)
	testName  = regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*)`")
)

// lacking says what is wrong with the page: statements that stand nowhere or twice, or that do not
// exist, rows that name neither a test nor a reason, and tests that do not exist.
func lacking(page string, exists func(test string) bool) (wrong []string) {
	for version := range statements {
		_, part, found := strings.Cut(page, "\n## "+version+"\n")
		if !found {
			wrong = append(wrong, "no section "+version)
			continue
		}
		part, _, _ = strings.Cut(part, "\n## ")
		seen := map[string]int{}
		for line := range strings.Lines(part) {
			cells := strings.Split(line, "|")
			switch {
			case strings.HasPrefix(line, "Statements that bind the client alone:"):
				cells = []string{"", line, "", "not applicable:"}
			case len(cells) != 5 || !statement.MatchString(cells[1]):
				continue
			}
			for _, id := range statement.FindAllString(cells[1], -1) {
				seen[id]++
			}
			reason := strings.TrimSpace(cells[3])
			if !testName.MatchString(reason) && !strings.HasPrefix(reason, "not applicable:") && !strings.HasPrefix(reason, "not met:") {
				wrong = append(wrong, version+" "+strings.TrimSpace(cells[1])+": neither a test nor a reason")
			}
		}
		all := numbers(version)
		for _, id := range all {
			if seen[id] != 1 {
				wrong = append(wrong, fmt.Sprintf("%s %s stands there %d times", version, id, seen[id]))
			}
		}
		for id := range seen {
			if !slices.Contains(all, id) {
				wrong = append(wrong, version+" has no "+id)
			}
		}
	}
	for _, m := range testName.FindAllStringSubmatch(page, -1) {
		if !exists(m[1]) {
			wrong = append(wrong, "there is no test "+m[1])
		}
	}
	return wrong
}

// testsBelow lists the tests and fuzz targets of the broker and of the topic grammar.
func testsBelow(t *testing.T, dirs ...string) map[string]bool {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	found := map[string]bool{}
	for _, dir := range dirs {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range declared.FindAllSubmatch(text, -1) {
				found[string(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// Every normative statement of MQTT 5.0 and 3.1.1 stands in docs/conformance.md once, with a test that
// exists or a reason.
func TestConformance(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := testsBelow(t, "gateway/broker", "gateway/topic")
	for _, wrong := range lacking(string(page), func(test string) bool { return tests[test] }) {
		t.Error(wrong)
	}
}

// The check finds what it is for.
func TestConformanceBites(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	all := func(string) bool { return true }
	for name, change := range map[string]func(string) string{
		"a statement is missing":   func(s string) string { return strings.Replace(s, "| 3.12.4-1 |", "| |", 1) },
		"a statement stands twice": func(s string) string { return strings.Replace(s, "| 3.12.4-1 |", "| 3.12.4-1, 3.8.1-1 |", 1) },
		"one that does not exist":  func(s string) string { return strings.Replace(s, "| 3.12.4-1 |", "| 3.12.4-1, 3.12.4-2 |", 1) },
		"no test and no reason": func(s string) string {
			return strings.Replace(s, "| PINGREQ is answered | `TestAcknowledgementsCarryTheIdentifier` |", "| PINGREQ is answered | |", 1)
		},
		"a version is missing": func(s string) string { return strings.Replace(s, "\n## MQTT 3.1.1\n", "\n", 1) },
	} {
		if changed := change(string(page)); changed == string(page) || len(lacking(changed, all)) == 0 {
			t.Errorf("%s: nothing is found", name)
		}
	}
	if len(lacking(string(page), func(test string) bool { return test != "TestOverlap" })) == 0 {
		t.Error("a test that does not exist is not found")
	}
}
