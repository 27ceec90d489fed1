package docs_test

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/testcache"
)

const module = "github.com/gatehouse/gatehouse"

// unlisted are packages that ARCHITECTURE.md need not name: the inside of one
// room, which nobody else can import, and helpers of tests.
var unlisted = regexp.MustCompile(`/internal/|/leaktest$|/manifesttest$`)

var (
	roomRow  = regexp.MustCompile(`^( *)((?:[\w./-]+/ ?)+)(?:  (.*))?$`)
	roomName = regexp.MustCompile(`(?:^|[\s(,;])([\w.-]+)/`)
)

// rooms reads the room list of ARCHITECTURE.md: each path that it names, with
// its indentation as the parent. named are rooms inside a room that only its
// description mentions ("frame/ (shape)").
func rooms(text string) (listed []string, named map[string]bool) {
	named = map[string]bool{}
	_, block, _ := strings.Cut(text, "## The rooms")
	_, block, _ = strings.Cut(block, "```\n")
	block, _, _ = strings.Cut(block, "```")
	var parents []string // by depth
	last := ""
	for line := range strings.SplitSeq(block, "\n") {
		m := roomRow.FindStringSubmatch(line)
		if m == nil || len(m[1]) > 8 {
			for _, n := range roomName.FindAllStringSubmatch(line, -1) {
				named[path.Join(last, n[1])] = true
			}
			continue
		}
		depth := len(m[1]) / 2
		if depth > len(parents) {
			depth = len(parents)
		}
		parent := path.Join(parents[:depth]...)
		for _, n := range strings.Fields(m[2]) {
			last = path.Join(parent, n)
			listed = append(listed, last)
		}
		parents = append(parents[:depth:depth], strings.Trim(strings.Fields(m[2])[0], "/"))
		for _, n := range roomName.FindAllStringSubmatch(" "+m[3], -1) {
			named[path.Join(last, n[1])] = true
		}
	}
	return listed, named
}

// missingRooms is the packages that the list does not name, and the names that are no directory.
func missingRooms(text string, packages []string, isDir func(string) bool) []string {
	listed, named := rooms(text)
	known := map[string]bool{}
	var problems []string
	for _, l := range listed {
		known[l] = true
		if !isDir(l) {
			problems = append(problems, l+" is listed and does not exist")
		}
	}
	for _, p := range packages {
		if known[p] || named[p] || unlisted.MatchString(p) {
			continue
		}
		problems = append(problems, p+" is not in the room list")
	}
	return problems
}

// TestRooms: ARCHITECTURE.md names every package of the module, and no directory that is gone.
func TestRooms(t *testing.T) {
	text, err := os.ReadFile(root + "/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	testcache.Open(t, module+"/...")
	out, err := exec.Command("go", "list", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []string
	for p := range strings.FieldsSeq(string(out)) {
		packages = append(packages, strings.TrimPrefix(p, module+"/"))
	}
	if len(packages) < 40 {
		t.Fatalf("go list found %d packages", len(packages))
	}
	isDir := func(p string) bool {
		info, err := os.Stat(filepath.Join(root, p))
		return err == nil && info.IsDir()
	}
	for _, p := range missingRooms(string(text), packages, isDir) {
		t.Error(p)
	}
}

// The list is seen to bite.
func TestRoomsBite(t *testing.T) {
	text := "## The rooms\n\n```\n" +
		"a/                 one\n  b/ c/            two; d/ is inside\n  gone/            three\ne/                 four\n```\n"
	isDir := func(p string) bool { return p != "a/gone" }
	got := missingRooms(text, []string{"a", "a/b", "a/c", "a/c/d", "a/x", "e", "e/internal/y", "f"}, isDir)
	want := "a/gone is listed and does not exist; a/x is not in the room list; f is not in the room list"
	if strings.Join(got, "; ") != want {
		t.Errorf("%q", got)
	}
}
