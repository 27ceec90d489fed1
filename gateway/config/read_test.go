package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/testcache"
)

const module = "github.com/gatehouse/gatehouse"

// exempt may stay unread.
var exempt = []string{
	"Listener.Plaintext", // does nothing but let the operator say that he means it
}

// TestEverySettingIsRead finds the settings that are decoded and then never
// read: a field counts as read when code outside this package and outside
// tests selects it otherwise than to assign to it. What is only validated, or
// only compared with another configuration, is not read.
func TestEverySettingIsRead(t *testing.T) {
	p := load(t)
	read := map[types.Object]bool{}
	for _, path := range p.importersOf(module + "/gateway/config") {
		p.readsOf(t, path, read)
	}
	fields := settings(p.types(t, module+"/gateway/config"))
	if len(fields) < 130 {
		t.Fatalf("%d settings found: the test would pass on nothing", len(fields))
	}
	for name, field := range fields {
		if !read[field] && !slices.Contains(exempt, name) {
			t.Errorf("%s is not read by the program: give the setting its meaning, or remove it", name)
		}
	}
}

// TestEverySettingOfManagementdIsRead is the same for the other daemon, whose
// settings live beside the code that reads them: its loader and check do not count.
func TestEverySettingOfManagementdIsRead(t *testing.T) {
	p := load(t)
	path := module + "/cmd/managementd"
	read := map[types.Object]bool{}
	pkg := p.readsOf(t, path, read, "config.go", "check.go")
	fields := settings(pkg)
	if len(fields) < 20 {
		t.Fatalf("%d settings found: the test would pass on nothing", len(fields))
	}
	for name, field := range fields {
		if !read[field] {
			t.Errorf("%s is not read by the program: give the setting its meaning, or remove it", name)
		}
	}
}

// settings are the fields of a package's structs that have a key in the file.
func settings(pkg *types.Package) map[string]*types.Var {
	out := map[string]*types.Var{}
	for _, name := range pkg.Scope().Names() {
		s, ok := pkg.Scope().Lookup(name).Type().Underlying().(*types.Struct)
		if !ok {
			continue
		}
		for i := range s.NumFields() {
			key, _, _ := strings.Cut(reflect.StructTag(s.Tag(i)).Get("yaml"), ",")
			if key != "" {
				out[name+"."+s.Field(i).Name()] = s.Field(i)
			}
		}
	}
	return out
}

// program is the module as the go command lists it: sources, and the export
// data of everything that they import.
type program struct {
	packages map[string]listed
	fset     *token.FileSet
	importer types.Importer
}

type listed struct {
	ImportPath, Dir, Export string
	GoFiles, Imports        []string
	Standard                bool
}

func load(t *testing.T) *program {
	t.Helper()
	testcache.Open(t, module+"/...")
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,Imports,Standard", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	p := &program{packages: map[string]listed{}, fset: token.NewFileSet()}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		p.packages[l.ImportPath] = l
	}
	p.importer = importer.ForCompiler(p.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(p.packages[path].Export) })
	return p
}

func (p *program) importersOf(path string) []string {
	var list []string
	for _, l := range p.packages {
		if slices.Contains(l.Imports, path) {
			list = append(list, l.ImportPath)
		}
	}
	return list
}

func (p *program) types(t *testing.T, path string) *types.Package {
	t.Helper()
	pkg, err := p.importer.Import(path)
	if err != nil {
		t.Fatal(err)
	}
	return pkg
}

// readsOf type-checks one package and notes every field that it selects to
// read, except in the files named.
func (p *program) readsOf(t *testing.T, path string, read map[types.Object]bool, except ...string) *types.Package {
	t.Helper()
	l := p.packages[path]
	var files []*ast.File
	for _, name := range l.GoFiles {
		f, err := parser.ParseFile(p.fset, filepath.Join(l.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := &types.Info{Selections: map[*ast.SelectorExpr]*types.Selection{}}
	pkg, err := (&types.Config{Importer: p.importer}).Check(path, p.fset, files, info)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !slices.Contains(except, filepath.Base(p.fset.Position(f.Pos()).Filename)) {
			noteReads(f, info, read)
		}
	}
	return pkg
}

func noteReads(f *ast.File, info *types.Info, read map[types.Object]bool) {
	written := map[ast.Expr]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				written[left] = true
			}
		case *ast.SelectorExpr:
			if s := info.Selections[n]; s != nil && s.Kind() == types.FieldVal && !written[n] {
				read[s.Obj()] = true
			}
		}
		return true
	})
}
