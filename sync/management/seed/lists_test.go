package seed

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

type pet struct {
	Name string   `yaml:"name"`
	Toys []string `yaml:"toys"`
	Note string   `yaml:"note"`
}

// readPets lists "section line name toys note" of each element.
func readPets(text string) (string, error) {
	var out strings.Builder
	err := Lists(strings.NewReader(text), []string{"cats", "dogs", "owner"}, func(i Item) error {
		if i.Section == "owner" {
			v, err := Value[string](i)
			fmt.Fprintf(&out, "owner %d %s\n", i.Line, v)
			return err
		}
		v, err := Element[pet](i)
		fmt.Fprintf(&out, "%s %d %s %v %q\n", i.Section, i.Line, v.Name, v.Toys, v.Note)
		return err
	})
	return out.String(), err
}

func TestLists(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"block": {"# pets\n---\ncats:\n  - name: a\n    toys:\n      - x\n      - y\n\n  # the second\n  - {name: b}\nowner: me\n",
			"cats 4 a [x y] \"\"\ncats 10 b [] \"\"\nowner 11 me\n"},
		"dashes at the margin": {"cats:\n- name: a\n  toys: [x]\n- name: b\n", "cats 2 a [x] \"\"\ncats 4 b [] \"\"\n"},
		"brackets":             {"cats: [{name: a}, {name: b,\n  toys: [x]}]\ndogs: []\n", "cats 1 a [] \"\"\ncats 1 b [x] \"\"\n"},
		"brackets, one a line": {"cats: [\n  {name: a},\n  {name: b}\n]\n", "cats 2 a [] \"\"\ncats 3 b [] \"\"\n"},
		"brackets below":       {"cats:\n  [{name: a}]\nowner:\n  me\n", "cats 2 a [] \"\"\nowner 4 me\n"},
		"a text of several rows": {"cats:\n  - name: a\n    note: |\n      # no comment\n\n      - no element\n  - name: b\n",
			"cats 2 a [] \"# no comment\\n\\n- no element\\n\"\ncats 7 b [] \"\"\n"},
		"no end of line":      {"cats:\n  - name: a", "cats 2 a [] \"\"\n"},
		"DOS":                 {"\ufeffcats:\r\n  - name: a\r\n    note: x\r\n", "cats 2 a [] \"x\"\n"},
		"a dash alone":        {"cats:\n  -\n    name: a\n", "cats 2 a [] \"\"\n"},
		"nothing below a key": {"cats:\ndogs: # none\nowner: ~\n", ""},
		"empty":               {"", ""},
	} {
		if got, err := readPets(tt.text); err != nil || got != tt.want {
			t.Errorf("%s: %v\n%s, want\n%s", name, err, got, tt.want)
		}
	}
}

func TestABadLineIsNamed(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"unknown member":         {"cats:\n  - name: a\n  - name: b\n    age: 3\n", "line 4: field age not found"},
		"unknown in brackets":    {"cats: [{name: a},\n  {age: 3}]\n", "line 2: field age not found"},
		"wrong type":             {"cats:\n  - name: a\n    toys: x\n", "line 3: cannot unmarshal"},
		"no YAML":                {"cats:\n  - name: a\n  - name: \"b\n  - name: c\n", "line 3"},
		"no YAML in brackets":    {"owner: me\ncats: [{name: a}\n", "line 2"},
		"unknown list":           {"cats:\n  - name: a\nbirds:\n  - name: b\n", "line 3: birds is no list of this file"},
		"a list twice":           {"cats:\n  - name: a\ncats:\n  - name: b\n", "line 3: cats is there twice"},
		"no key":                 {"cats\n", "line 1: the name of a list and a colon"},
		"indented from the top":  {"  - name: a\n", "line 1: the name of a list is expected"},
		"a value for a list":     {"cats: 5\n", "line 1: cats: a list is expected"},
		"a list for a value":     {"owner:\n  - me\n", "line 2: owner: one value is expected"},
		"a second document":      {"cats:\n  - name: a\n---\ndogs:\n  - name: b\n", "line 3: the file holds more than one document"},
		"a tab":                  {"cats:\n  - name: a\n\ttoys: [x]\n", "line 3"},
		"an element of no value": {"cats:\n  - name: a\n  -  # nothing\n    - x\n", "line 4"},
		"an anchor of another":   {"cats:\n  - &a {name: a}\n  - *a\n", "line 3"},
	} {
		if got, err := readPets(tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s (read %s)", name, err, tt.want, got)
		}
	}
}

// endless is a list that never ends, until it has been read so far.
type endless struct {
	head, each string
	left       int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	text := e.head + strings.Repeat(e.each, 1+len(p)/len(e.each))
	e.head = ""
	n := copy(p, text)
	e.head = text[n : n+(len(text)-n)%len(e.each)]
	e.left -= n
	return n, nil
}

// TestAFileOfAnyLengthTakesBoundedMemory reads 64 MiB of elements and holds none.
func TestAFileOfAnyLengthTakesBoundedMemory(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most, count := heap(), uint64(0), 0
	src := &endless{head: "cats:\n", each: "  - {name: a, toys: [" + strings.Repeat("x, ", 300) + "y]}\n", left: 64 << 20}
	err := Lists(src, []string{"cats"}, func(i Item) error {
		if count++; count%10_000 == 0 {
			most = max(most, heap())
		}
		return nil
	})
	if err != nil || count < 60_000 {
		t.Fatalf("%d elements, %v", count, err)
	}
	if most > before+8<<20 {
		t.Errorf("the heap grew by %d KiB", (most-before)>>10)
	}
	for name, text := range map[string]string{"an element": "cats:\n  - name: a\n", "brackets": "cats: [\n"} {
		src := &endless{head: text, each: "    # and on\n", left: 64 << 20}
		if err := Lists(src, []string{"cats"}, func(Item) error { return nil }); !errors.Is(err, errTooLong) {
			t.Errorf("%s without an end: %v", name, err)
		}
	}
	if err := Lists(&endless{head: "cats: ", each: "x", left: 64 << 20}, []string{"cats"}, nil); !errors.Is(err, errTooLong) {
		t.Errorf("a line without an end: %v", err)
	}
}

// TestListsReadWhatYAMLReads holds the demo building against the decoder of whole files.
func TestListsReadWhatYAMLReads(t *testing.T) {
	data, err := os.ReadFile(demo)
	if err != nil {
		t.Fatal(err)
	}
	var whole map[string]any
	if err := yaml.Unmarshal(data, &whole); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range whole {
		names = append(names, name)
	}
	got := map[string][]any{}
	err = Lists(strings.NewReader(string(data)), names, func(i Item) error {
		v, err := decode[any](i)
		got[i.Section] = append(got[i.Section], v)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range whole {
		list, ok := want.([]any)
		if !ok {
			list = []any{want}
		}
		if fmt.Sprint(got[name]) != fmt.Sprint(list) {
			t.Errorf("%s: got %v, want %v", name, got[name], list)
		}
	}
}

// TestAllBadElementsAreTold up to a limit.
func TestAllBadElementsAreTold(t *testing.T) {
	var b strings.Builder
	b.WriteString("homeTenant: 7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001\ndevices:\n")
	for i := range 2 * maxProblems {
		fmt.Fprintf(&b, "  - {deviceId: d%d, hardware: x}\n", i)
	}
	_, err := Parse([]byte(b.String()))
	if err == nil || !strings.Contains(err.Error(), "line 3: field hardware") || !strings.Contains(err.Error(), "line 52: field hardware") {
		t.Errorf("got %v", err)
	}
	text := strings.ReplaceAll(b.String(), "hardware:", "hardwareId:")
	if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), "more") || strings.Count(err.Error(), "\n") != maxProblems {
		t.Errorf("got %v", err)
	}
}
