package sas

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"testing"
)

// Signatures are compared in constant time: by the one function that does, and
// nowhere else. Time cannot be measured well enough to be a test, so the
// comparison itself is looked for.
func TestSignaturesAreComparedInConstantTime(t *testing.T) {
	var calls []string // every comparison of byte strings
	for _, file := range []string{"sas.go", "devicetoken.go", "fields.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := s.X.(*ast.Ident); ok {
				calls = append(calls, pkg.Name+"."+s.Sel.Name)
			}
			return true
		})
	}
	if n := len(slices.DeleteFunc(slices.Clone(calls), func(c string) bool { return c != "subtle.ConstantTimeCompare" })); n != 1 {
		t.Errorf("subtle.ConstantTimeCompare is called %d times, want once, in signedBy", n)
	}
	for _, c := range calls {
		if c == "bytes.Equal" || c == "bytes.Compare" || c == "bytes.HasPrefix" || c == "slices.Equal" || c == "strings.Compare" {
			t.Errorf("%s stops at the first difference", c)
		}
	}
}
