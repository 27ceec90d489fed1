package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// warningRow is a row of the table of warnings in operating.md.
var warningRow = regexp.MustCompile("(?m)^\\| `([a-zA-Z0-9-]+)` \\| ([^|]+) \\| ([^|]+) \\| ([^|]+) \\|$")

// raised are the names of the warnings in the Go files that a pattern names, with the severities that
// are written beside them: those of calls of Set, Raise and Clear, and of the helper ending. A name that
// is put together, as "store-quarantined-"+store, ends with NAME. Listeners' warnings are the fields
// Warning of their specifications, and what package listeners puts behind these.
func raised(t *testing.T, patterns ...string) map[string][]string {
	t.Helper()
	names := map[string][]string{}
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch x := n.(type) {
				case *ast.CallExpr:
					if name := nameIn(x); name != "" {
						names[name] = append(names[name], severitiesIn(x)...)
					}
				case *ast.KeyValueExpr:
					if key, ok := x.Key.(*ast.Ident); ok && key.Name == "Warning" {
						if name, ok := text(x.Value); ok {
							names[name] = nil
						}
					}
				}
				return true
			})
		}
	}
	return names
}

// nameIn is the name of the warning that a call raises or clears; "" if it does neither.
func nameIn(call *ast.CallExpr) string {
	called := ""
	switch f := call.Fun.(type) {
	case *ast.SelectorExpr:
		called = f.Sel.Name
	case *ast.Ident:
		called = f.Name
	}
	at, known := map[string]int{"Set": 1, "Raise": 0, "Clear": 0, "ending": 1}[called]
	if !known || len(call.Args) <= at {
		return ""
	}
	name, _ := text(call.Args[at])
	return name
}

// text is a string literal, or the one that a concatenation begins with.
func text(e ast.Expr) (string, bool) {
	switch x := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(x.Value)
		return s, err == nil && x.Kind == token.STRING
	case *ast.BinaryExpr:
		s, ok := text(x.X)
		return s + "NAME", ok
	}
	return "", false
}

func severitiesIn(call *ast.CallExpr) (list []string) {
	for _, arg := range call.Args {
		if s, ok := arg.(*ast.SelectorExpr); ok {
			switch s.Sel.Name {
			case "Notice", "Degraded", "Failing":
				list = append(list, strings.ToLower(s.Sel.Name))
			}
		}
	}
	return list
}

// TestEveryWarningHasARow: an operator who reads a name anywhere finds in one table what it means, how bad
// it is, and what to do.
func TestEveryWarningHasARow(t *testing.T) {
	names := raised(t, "../gateway/health/warnings/*.go", "../gateway/listeners.go")
	for _, d := range []string{"listener-NAME", "device-update-api"} { // with TLS
		if _, ok := names[d]; !ok {
			t.Errorf("%s is not found in the source", d)
		}
		names[d+"-certificate"], names[d+"-client-authorities"] = nil, nil
	}
	if len(names) < 40 {
		t.Errorf("only %d warnings are found in the source: the test does not see them", len(names))
	}
	page, err := os.ReadFile("operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "## Every warning")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := map[string][]string{}
	var order []string
	for _, m := range warningRow.FindAllStringSubmatch(section, -1) {
		rows[m[1]] = m[2:]
		order = append(order, m[1])
	}
	for name, severities := range names {
		row, ok := rows[name]
		if !ok {
			t.Errorf("%s has no row in operating.md", name)
			continue
		}
		for _, s := range severities {
			if !strings.Contains(row[0], s) {
				t.Errorf("%s is raised as %s, and its row says %q", name, s, row[0])
			}
		}
	}
	for name := range rows {
		if _, ok := names[name]; !ok {
			t.Errorf("%s has a row in operating.md, and nothing raises it", name)
		}
	}
	if !slices.IsSorted(order) {
		t.Errorf("the rows are not in the order of the names")
	}
}
