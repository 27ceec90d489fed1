package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	title   = regexp.MustCompile(`(?m)^#+ (.*)$`)
	fenced  = regexp.MustCompile("(?ms)^```.*?^```")
	outside = regexp.MustCompile(`^(?:https?|mailto):`)
)

// broken is the relative links of a document that lead to no file, or to a
// heading that its file does not have. dir is the document's directory.
func broken(dir, text string) []string {
	var problems []string
	for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		if outside.MatchString(m[1]) {
			continue
		}
		file, anchor, _ := strings.Cut(m[1], "#")
		target := text
		if file != "" {
			path := filepath.Join(dir, file)
			info, err := os.Stat(path)
			if err != nil {
				problems = append(problems, m[1]+" leads nowhere")
				continue
			}
			if info.IsDir() || anchor == "" {
				continue
			}
			data, err := os.ReadFile(path)
			if err != nil {
				problems = append(problems, err.Error())
				continue
			}
			target = string(data)
		}
		if anchor != "" && !hasHeading(target, anchor) {
			problems = append(problems, m[1]+": there is no such heading")
		}
	}
	return problems
}

func hasHeading(text, anchor string) bool {
	seen := map[string]int{}
	for _, m := range title.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		if slug(m[1], seen) == anchor {
			return true
		}
	}
	return false
}

// slug is the anchor that a heading gets on the usual hosts.
func slug(heading string, seen map[string]int) string {
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case r == ' ' || r == '-':
			b.WriteByte('-')
		case r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 127 && r != '…' && r != '→' && r != '–':
			b.WriteRune(r)
		}
	}
	s := b.String()
	n := seen[s]
	seen[s]++
	if n > 0 {
		s += "-" + strconv.Itoa(n)
	}
	return s
}

// TestLinks: every relative link of every document leads to a file, and to a
// heading where it names one.
func TestLinks(t *testing.T) {
	links := 0
	walk(t, func(path string, text []byte) {
		if filepath.Ext(path) != ".md" {
			return
		}
		links += len(link.FindAll(text, -1))
		for _, p := range broken(filepath.Join(root, filepath.Dir(path)), string(text)) {
			t.Errorf("%s: %s", path, p)
		}
	})
	if links < 20 {
		t.Errorf("%d links found: the search looks past them", links)
	}
}

// The search is seen to bite.
func TestLinksBite(t *testing.T) {
	text := "# A title, with `code`\n" +
		"[a](spec/semantics.md) [b](spec/semantics.md#45-time) [c](#a-title-with-code) [d](https://example.com/x)\n" +
		"[e](spec/none.md) [f](spec/semantics.md#no-such-heading) [g](#nor-this)\n```\n[h](nowhere.md)\n```\n"
	got := broken(".", text)
	want := []string{"spec/none.md", "spec/semantics.md#no-such-heading", "#nor-this"}
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for i, w := range want {
		if !strings.HasPrefix(got[i], w) {
			t.Errorf("%q, want %s", got[i], w)
		}
	}
}
