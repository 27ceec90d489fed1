// Package scenario reads scenario files: the readable form of the specification. A
// file is a list of scenarios. Each states a rule in one sentence, lists the keys of
// the sentences in docs/sentences.yaml that the rule covers, and describes a world and
// the answers that must be given in it, in a form that the package which runs it
// defines.
//
// The files lie in testdata/scenarios of the package that makes the decision. For
// tests only.
package scenario

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Dir is where a package keeps its scenarios, below its own directory.
const Dir = "testdata/scenarios"

// Head is what every scenario begins with: to be embedded, inline.
type Head struct {
	Rule string   `yaml:"rule"` // the sentence, in our own words
	Says []string `yaml:"says"` // the keys of the sentences that it shows
}

// Heading is the head itself; promoted to whatever embeds one.
func (h Head) Heading() Head { return h }

// Run runs every scenario in Dir of the package under test, in parallel
// with nothing. A key that is not known to S, a scenario without a rule and one
// that shows no sentence are errors.
func Run[S interface{ Heading() Head }](t *testing.T, run func(*testing.T, S)) {
	t.Helper()
	RunBelow(t, "", run)
}

// RunBelow is Run for the scenarios in a folder of Dir: a package that decides
// two kinds of question, each in words of its own, keeps the second kind there.
func RunBelow[S interface{ Heading() Head }](t *testing.T, folder string, run func(*testing.T, S)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(Dir, folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenario files: %v", err)
	}
	for _, file := range files {
		list, err := read[S](file)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			h := s.Heading()
			if h.Rule == "" || len(h.Says) == 0 {
				t.Errorf("%s: a scenario without rule or says: %+v", file, h)
			}
			name := strings.TrimSuffix(filepath.Base(file), ".yaml") + "/" + strings.ReplaceAll(h.Rule, "/", "∕")
			t.Run(name, func(t *testing.T) { run(t, s) })
		}
	}
}

func read[S any](file string) ([]S, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	var list []S
	if err := d.Decode(&list); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return list, nil
}

// Shown lists which scenarios below root show a sentence, by its key: file and
// rule of each.
func Shown(root string) (map[string][]string, error) {
	shown := map[string][]string{}
	house := os.DirFS(root)
	err := fs.WalkDir(house, ".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && strings.HasPrefix(e.Name(), ".") && path != ".":
			return fs.SkipDir
		case e.IsDir() || !strings.Contains(path, Dir+"/") || filepath.Ext(path) != ".yaml":
			return nil
		}
		text, err := fs.ReadFile(house, path)
		if err != nil {
			return err
		}
		var list []struct {
			Head `yaml:",inline"`
			Rest map[string]any `yaml:",inline"`
		}
		if err := yaml.Unmarshal(text, &list); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, s := range list {
			for _, key := range s.Says {
				shown[key] = append(shown[key], path+": "+s.Rule)
			}
		}
		return nil
	})
	return shown, err
}

// Sentence is one sentence of the specification, in our own words.
type Sentence struct {
	Key  string `yaml:"key"`
	Says string `yaml:"says"`
	// Test names what shows a sentence that no scenario can (storage, timing,
	// connections): "{directory} {TestFunction}", several with commas between.
	Test string `yaml:"test"`
	// Gap is the text by which CHANGELOG.md admits that it is not built yet.
	Gap string `yaml:"gap"`
}

// Sentences reads the list of them.
func Sentences(file string) ([]Sentence, error) { return read[Sentence](file) }
