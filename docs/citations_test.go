// Package docs_test holds the documents to what they say: every citation of the
// specification leads to a section that exists, every link to a file and heading,
// and every room of the module stands in ARCHITECTURE.md.
package docs_test

import (
	"bytes"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = ".."

// label is what a citation names behind the page: "4.5", "E.3", "B20" or "class 7".
const label = `(?:class \d+|B\d+|\d+(?:\.\d+)*|[A-G](?:\.\d+)*)\b`

var (
	citation = regexp.MustCompile(`docs/spec/([a-z-]+)\.md(?:,? (` + label + `(?:(?:, and |, | and | to )` + label + `)*))?`)
	linked   = regexp.MustCompile(`\]\((?:\.\./)*(?:docs/spec/|spec/)?([a-z-]+)\.md\) ` +
		`(` + label + `(?:(?:, and |, | and | to )` + label + `)*)`)
	labels = regexp.MustCompile(label)
	bare   = regexp.MustCompile(`(?:^|[^/\w-])((?:semantics|broker-boundary|libraries|device-update(?:-protocol)?|` +
		`(?:digital-twins-)?management-api|azure-today)\.md)`)
	row = regexp.MustCompile(`\bB[1-9]\d?\b|\bclass(?:es)? \d+\b`)
	// continued is a comment that goes on in the next line.
	continued = regexp.MustCompile(`\n[ \t]*(?://|#) ?`)
)

// spec is the pages of the specification, each with the labels that it defines.
type spec map[string]map[string]bool

func readSpec(t *testing.T) spec {
	t.Helper()
	heading := regexp.MustCompile(`(?m)^##+ ([\dA-G](?:\.\d+)*)\.? `)
	numbered := regexp.MustCompile(`(?m)^\| (B?\d+) \|`)
	pages, err := filepath.Glob("spec/*.md")
	if err != nil || len(pages) < 6 {
		t.Fatalf("the specification has %d pages: %v", len(pages), err)
	}
	found := spec{}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		defined := map[string]bool{}
		for _, m := range heading.FindAllSubmatch(text, -1) {
			defined[string(m[1])] = true
		}
		name := strings.TrimSuffix(filepath.Base(page), ".md")
		if name == "broker-boundary" {
			for _, m := range numbered.FindAllSubmatch(text, -1) {
				defined[strings.TrimPrefix("class "+string(m[1]), "class B")] = true
				if m[1][0] == 'B' {
					defined[string(m[1])] = true
				}
			}
		}
		found[name] = defined
	}
	return found
}

// wrong is what is wrong with the citations in one text. mustName asks each for
// its section: in code a page alone sends the reader searching.
func (s spec) wrong(text string, mustName bool) []string {
	text = continued.ReplaceAllString(text, " ")
	var problems []string
	check := func(page, cited string) {
		defined, ok := s[page]
		if !ok {
			problems = append(problems, "docs/spec/"+page+".md does not exist")
			return
		}
		if cited == "" && mustName && page != "README" {
			problems = append(problems, "docs/spec/"+page+".md is cited without a section")
		}
		for _, l := range labels.FindAllString(cited, -1) {
			if !defined[l] {
				problems = append(problems, "docs/spec/"+page+".md has no "+l)
			}
		}
	}
	for _, m := range citation.FindAllStringSubmatch(text, -1) {
		check(m[1], m[2])
	}
	for _, m := range linked.FindAllStringSubmatch(text, -1) {
		check(m[1], m[2])
	}
	if mustName {
		for _, m := range bare.FindAllStringSubmatch(text, -1) {
			problems = append(problems, m[1]+" is cited without its place: write docs/spec/{page}.md {section}")
		}
	}
	return problems
}

// wrongRows is what is wrong with the rows and classes of the broker boundary
// that the comments of a Go file name by their bare number.
func (s spec) wrongRows(src []byte) []string {
	var problems []string
	var sc scanner.Scanner
	fset := token.NewFileSet()
	sc.Init(fset.AddFile("", fset.Base(), len(src)), src, nil, scanner.ScanComments)
	for {
		_, tok, lit := sc.Scan()
		if tok == token.EOF {
			return problems
		}
		if tok != token.COMMENT {
			continue
		}
		for _, l := range row.FindAllString(lit, -1) {
			if !s["broker-boundary"][strings.Replace(l, "classes", "class", 1)] {
				problems = append(problems, "docs/spec/broker-boundary.md has no "+l)
			}
		}
	}
}

// cites tells whether citations are looked for in a file.
func cites(path string) bool {
	switch filepath.Ext(path) {
	case ".go", ".yaml", ".md", ".service", ".socket", ".conf", ".sh", ".mk", ".txt":
		return true
	}
	return slices.Contains([]string{"Makefile", "run"}, filepath.Base(path))
}

// TestCitations: what the code and the documents cite can be looked up.
func TestCitations(t *testing.T) {
	s := readSpec(t)
	files, cited := 0, 0
	walk(t, func(path string, text []byte) {
		if !cites(path) || strings.HasPrefix(path, "docs/citations_test.go") {
			return
		}
		files++
		cited += len(citation.FindAll(text, -1))
		for _, p := range s.wrong(string(text), filepath.Ext(path) != ".md") {
			t.Errorf("%s: %s", path, p)
		}
		if strings.HasPrefix(path, "gateway/broker/") && strings.HasSuffix(path, ".go") {
			for _, p := range s.wrongRows(text) {
				t.Errorf("%s: %s", path, p)
			}
		}
	})
	if cited < 100 {
		t.Errorf("%d files hold %d citations: the search looks past them", files, cited)
	}
	// A sentence's key begins with the section of semantics.md that it restates.
	keys, err := os.ReadFile("sentences.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^- \{key: ([^.]+)\.`).FindAllSubmatch(keys, -1) {
		if !s["semantics"][string(m[1])] {
			t.Errorf("sentences.yaml: docs/spec/semantics.md has no %s", m[1])
		}
	}
}

// The search is seen to bite on each way in which a citation can lead nowhere,
// and to let the right ones pass.
func TestCitationsBite(t *testing.T) {
	s := readSpec(t)
	for _, c := range []struct {
		text string
		want int
	}{
		{"// as docs/spec/semantics.md 4.5 says, and docs/spec/broker-boundary.md B7, B8 and class 7.", 0},
		{"// (docs/spec/semantics.md 1, 2 and 5; docs/spec/azure-today.md E.3)", 0},
		{"// broken by docs/spec/device-update.md\n// 2.3) and what follows", 0},
		{"// docs/spec/semantics.md 4.55", 1},
		{"// docs/spec/semantics.md\n\t// 9", 1},
		{"// docs/spec/semantics.md 1, 2 and 8.1", 1},
		{"// docs/spec/broker-boundary.md B34", 1},
		{"// docs/spec/broker-boundary.md class 26", 1},
		{"// docs/spec/nothing.md 1", 1},
		{"// docs/spec/semantics.md", 1},
		{"// semantics.md 4.5", 1},
		{"// (device-update-protocol.md 5.1)", 1},
		{"[page](spec/semantics.md) 4.5 and [page](spec/semantics.md) 8", 1},
	} {
		if got := s.wrong(c.text, true); len(got) != c.want {
			t.Errorf("%q: %q, want %d", c.text, got, c.want)
		}
	}
	src := []byte("package p\n\n// B7 and class 3 hold; B34 and class 26 do not.\nconst x = \"B99\"\n")
	if got := s.wrongRows(src); len(got) != 2 {
		t.Errorf("rows: %q", got)
	}
}

// walk hands over every text file of the repository.
func walk(t *testing.T, each func(path string, text []byte)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			hidden := strings.HasPrefix(name, ".") && name != ".ci" && name != ".github"
			if path != root && (hidden || slices.Contains([]string{"bin", "dist", "run", "node_modules"}, name)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		if rel, _ := filepath.Rel(root, path); cites(rel) {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if !bytes.ContainsRune(text, 0) {
				each(rel, text)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
