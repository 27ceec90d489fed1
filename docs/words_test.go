package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// retired are words that identifiers no longer contain, because each stood for
// several things at once. CONTRIBUTING.md, "Words", has what is said instead.
var retired = []struct {
	word string
	in   *regexp.Regexp // the files that the rule is about
	but  *regexp.Regexp // and those of them that it is not about; nil: none
}{
	{"settle", regexp.MustCompile(``), nil},
	{"settled", regexp.MustCompile(``), nil},
	{"gate", regexp.MustCompile(``), nil},
	// In tests a room is a room of the building that they describe.
	{"room", regexp.MustCompile(``), regexp.MustCompile(`_test\.go$`)},
	{"wire", regexp.MustCompile(``), regexp.MustCompile(`^sync/`)},
	{"table", regexp.MustCompile(`^gateway/access/`), nil},
}

var camel = regexp.MustCompile(`[A-Z]+[a-z0-9]*|[a-z0-9]+`)

// wordsOf are the words of an identifier, in lower case: makeRoom is "make", "room".
func wordsOf(identifier string) []string {
	var out []string
	for _, w := range camel.FindAllString(identifier, -1) {
		out = append(out, strings.ToLower(w))
	}
	return out
}

// declared lists the names that a file declares: of functions, methods, types,
// fields, parameters, constants and variables.
func declared(f *ast.File) []string {
	var names []string
	add := func(list ...*ast.Ident) {
		for _, id := range list {
			names = append(names, id.Name)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			add(n.Name)
		case *ast.TypeSpec:
			add(n.Name)
		case *ast.ValueSpec:
			add(n.Names...)
		case *ast.Field:
			add(n.Names...)
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				if id, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
					add(id)
				}
			}
		}
		return true
	})
	return names
}

// retiredIn lists the declared names of a file that contain a retired word.
func retiredIn(t *testing.T, file string, source []byte) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	names := declared(f)
	for _, r := range retired {
		if !r.in.MatchString(file) || r.but != nil && r.but.MatchString(file) {
			continue
		}
		for _, name := range names {
			if slices.Contains(wordsOf(name), r.word) {
				out = append(out, file+": "+name)
			}
		}
	}
	return out
}

// TestRetiredWordsStayAway keeps identifiers from taking a second meaning again.
func TestRetiredWordsStayAway(t *testing.T) {
	guide, err := os.ReadFile("../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range retired {
		if !strings.Contains(string(guide), "*"+strings.TrimSuffix(r.word, "d")+"*") {
			t.Errorf("CONTRIBUTING.md, Words, does not say what *%s* means", r.word)
		}
	}
	files := 0
	walk(t, func(path string, text []byte) {
		if strings.HasSuffix(path, ".go") {
			files++
			for _, name := range retiredIn(t, filepath.ToSlash(path), text) {
				t.Errorf("%s: its meaning is taken; see CONTRIBUTING.md, Words", name)
			}
		}
	})
	if files < 100 {
		t.Errorf("read only %d Go files", files)
	}
}

// TestRetiredWordsAreFound shows that the rule above can fail.
func TestRetiredWordsAreFound(t *testing.T) {
	source := []byte("package p\ntype gateKeeper struct{ WaitRoom, roomy, broomRow int }\n" +
		"func (gateKeeper) settleAll(wireForm int) { table := 1; table = 2 }\n")
	for file, want := range map[string]string{
		"gateway/access/x.go":    "settleAll gateKeeper WaitRoom wireForm table",
		"gateway/x/x_test.go":    "settleAll gateKeeper wireForm",
		"sync/x.go":              "settleAll gateKeeper WaitRoom",
		"gateway/upstream/x.go":  "settleAll gateKeeper WaitRoom wireForm",
		"gateway/access_test.go": "settleAll gateKeeper wireForm",
	} {
		got := strings.ReplaceAll(strings.Join(retiredIn(t, file, source), " "), file+": ", "")
		if got != want {
			t.Errorf("%s: found %q, want %q", file, got, want)
		}
	}
}
