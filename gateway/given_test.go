package gateway_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/testcache"
)

// atMost is how many methods an interface may have that a room declares for what it is given: whoever
// needs more of one value needs several roles of it, and each is understood and replaced alone.
const atMost = 5

// larger are the interfaces that may have more, with the reason. None has one today.
var larger = map[string]string{}

// TestWhatRoomsAreGiven holds the interfaces that the root can satisfy for another package small.
func TestWhatRoomsAreGiven(t *testing.T) {
	seen := 0
	for _, p := range rooms(t) {
		for _, name := range tooLarge(p, &seen) {
			if larger[name] == "" {
				t.Errorf("%s has more than %d methods: declare one interface for each role in which it is needed", name, atMost)
			}
			delete(larger, name)
		}
	}
	for name := range larger {
		t.Errorf("%s is small, or gone: take it off the list", name)
	}
	if seen < 20 {
		t.Errorf("%d interfaces found: this looks at nothing", seen)
	}
}

// TestTooLargeBites: an interface, and one within a struct, with and without embedded ones.
func TestTooLargeBites(t *testing.T) {
	p := types.NewPackage("p", "p")
	method := func(name string) *types.Func {
		return types.NewFunc(token.NoPos, p, name, types.NewSignatureType(nil, nil, nil, nil, nil, false))
	}
	small := types.NewInterfaceType([]*types.Func{method("A"), method("B"), method("C"), method("D"), method("E")}, nil)
	large := types.NewInterfaceType([]*types.Func{method("F")}, []types.Type{small})
	declare := func(name string, of types.Type) {
		p.Scope().Insert(types.NewNamed(types.NewTypeName(token.NoPos, p, name, nil), of, nil).Obj())
	}
	declare("Small", small)
	declare("Large", large)
	declare("Options", types.NewStruct([]*types.Var{
		types.NewField(token.NoPos, p, "Own", small, false), types.NewField(token.NoPos, p, "Many", large, false),
	}, nil))
	seen := 0
	if got := tooLarge(p, &seen); !slices.Equal(got, []string{"p.Large", "p.Options.Many"}) || seen != 4 {
		t.Errorf("found %q among %d", got, seen)
	}
}

// tooLarge are the exported interfaces of a package with too many methods, and the exported fields of
// its structs whose type is an interface without a name.
func tooLarge(p *types.Package, seen *int) []string {
	var list []string
	look := func(name string, of types.Type) {
		if i, ok := of.(*types.Interface); ok {
			if *seen++; i.NumMethods() > atMost {
				list = append(list, name)
			}
		}
	}
	for _, name := range p.Scope().Names() {
		declared, ok := p.Scope().Lookup(name).(*types.TypeName)
		if !ok || !declared.Exported() {
			continue
		}
		look(p.Path()+"."+name, declared.Type().Underlying())
		if s, ok := declared.Type().Underlying().(*types.Struct); ok {
			for f := range s.Fields() {
				if f.Exported() {
					look(p.Path()+"."+name+"."+f.Name(), f.Type())
				}
			}
		}
	}
	return list
}

// rooms are our packages that the root imports, directly or by way of another, as the compiler has them.
func rooms(t *testing.T) []*types.Package {
	t.Helper()
	testcache.Open(t, module+"gateway")
	out, err := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Export", module+"gateway").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	compiled := map[string]string{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct{ ImportPath, Export string }
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		compiled[p.ImportPath] = p.Export
	}
	imports := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		file, ok := compiled[path]
		if !ok {
			return nil, fmt.Errorf("%s was not compiled", path)
		}
		return os.Open(file)
	})
	var list []*types.Package
	for path := range compiled {
		if !strings.HasPrefix(path, module) || path == module+"gateway" {
			continue
		}
		p, err := imports.Import(path)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

// rootLines is how many lines the root may have beside its tests, its figure rounded up: what is not
// wiring belongs to the room whose idea it is, so this number only falls.
const rootLines = 1650

func TestTheRootOnlyFalls(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		lines += strings.Count(string(text), "\n")
	}
	if lines > rootLines {
		t.Errorf("%d lines, at most %d: move out what is not wiring", lines, rootLines)
	}
	if lines < rootLines-100 {
		t.Errorf("%d lines: lower rootLines, which is %d, so that they are not taken back", lines, rootLines)
	}
}
