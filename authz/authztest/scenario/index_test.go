package scenario

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../../.."

// TestEverySentenceIsShown: a sentence of the specification has a scenario, or
// a test that exists, or is admitted to be a gap.
func TestEverySentenceIsShown(t *testing.T) {
	sentences, err := Sentences(root + "/docs/sentences.yaml")
	if err != nil {
		t.Fatal(err)
	}
	shown, err := Shown(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range missing(t, sentences, shown) {
		t.Error(p)
	}
	t.Logf("%d sentences", len(sentences))
}

// missing is what is wrong between the list of sentences and what shows them.
func missing(t *testing.T, sentences []Sentence, shown map[string][]string) []string {
	t.Helper()
	admitted, err := os.ReadFile(root + "/CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	var problems []string
	known := map[string]bool{}
	for _, s := range sentences {
		switch {
		case s.Key == "" || s.Says == "":
			problems = append(problems, "a sentence without key or words: "+s.Key+s.Says)
		case known[s.Key]:
			problems = append(problems, s.Key+" is listed twice")
		case len(shown[s.Key]) == 0 && s.Test == "" && s.Gap == "":
			problems = append(problems, s.Key+" ("+s.Says+") has no scenario")
		}
		known[s.Key] = true
		if s.Gap != "" && !strings.Contains(string(admitted), s.Gap) {
			problems = append(problems, s.Key+": CHANGELOG.md does not say "+s.Gap)
		}
		for one := range strings.SplitSeq(s.Test, ",") {
			if one = strings.TrimSpace(one); one != "" && !exists(t, one) {
				problems = append(problems, s.Key+": there is no "+one)
			}
		}
	}
	for key, where := range shown {
		if !known[key] {
			problems = append(problems, where[0]+" shows "+key+", which is not listed")
		}
	}
	slices.Sort(problems)
	return problems
}

// exists tells whether "{directory} {TestFunction}" does.
func exists(t *testing.T, test string) bool {
	t.Helper()
	dir, name, _ := strings.Cut(test, " ")
	files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^func ` + regexp.QuoteMeta(name) + `\(t \*testing\.T\)`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if declared.Match(text) {
			return true
		}
	}
	return false
}

// The index is seen to bite, in each way in which a sentence can be forgotten.
func TestIndexBites(t *testing.T) {
	shown := map[string][]string{"x.shown": {"file: rule"}, "x.unlisted": {"file: rule"}}
	got := missing(t, []Sentence{
		{Key: "x.shown", Says: "has a scenario"},
		{Key: "x.tested", Says: "has a test", Test: "authz/authztest/scenario TestIndexBites"},
		{Key: "x.nothing", Says: "has nothing"},
		{Key: "x.lost", Says: "had a test", Test: "authz/authztest/scenario TestIndexBites, authz/authztest/scenario TestThatIsGone"},
		{Key: "x.untold", Says: "is a gap", Gap: "that nobody admits"},
		{Key: "x.shown", Says: "is listed again"},
	}, shown)
	want := []string{
		"file: rule shows x.unlisted, which is not listed",
		"x.lost: there is no authz/authztest/scenario TestThatIsGone",
		"x.nothing (has nothing) has no scenario",
		"x.shown is listed twice",
		"x.untold: CHANGELOG.md does not say that nobody admits",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
