// Package reference writes what a daemon's settings are, from the structs that
// they are decoded into: a reference page, a JSON Schema for editors, and a
// commented example file. The text of a setting is the comment of its field,
// its default the value that the program itself begins with, so that none of
// the three can say something else than the program does.
package reference

import (
	"encoding"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/gateway/config"
)

// Setting is one key of a configuration file.
type Setting struct {
	Key  string
	Path string // "listeners[].tls.cert"
	Doc  string // one paragraph
	Kind Kind
	// Choices are the values of a text that has only some; Unit is what a number counts.
	Choices []string
	Unit    string
	// Default is the value as YAML writes it on one line; "" for a section.
	Default string
	// Inherits is the section whose value of the same key is the default.
	Inherits string
	Required bool
	// Show is what the example file sets, Example what it only shows.
	Show, Example string
	// Absent: the section need not be there, and its keys count once it is.
	Absent   bool
	Children []*Setting // of a section, or of each entry of a list of sections
}

// Kind is how a value is written.
type Kind string

// The kinds. A list of sections has Entries, any other list is one of the kind that follows List.
const (
	Section  Kind = "section"
	Entries  Kind = "list of sections"
	Text     Kind = "text"
	Path     Kind = "file"
	Secret   Kind = "secret file"
	Switch   Kind = "on or off"
	Integer  Kind = "whole number"
	Number   Kind = "number"
	Duration Kind = "duration"
	Size     Kind = "size"
	GUID     Kind = "GUID"
	Space    Kind = "space path"
	List     Kind = "list of "
)

// Describe reads the settings of *defaults, a struct with yaml tags that holds
// the defaults. root is the module's directory, in which the comments are looked up.
func Describe(defaults any, root string) ([]*Setting, error) {
	d := &describer{root: root, comments: map[string]map[string]string{}}
	list := d.fields(reflect.ValueOf(defaults).Elem(), "", "")
	return list, d.err
}

type describer struct {
	root     string
	comments map[string]map[string]string // package directory → "Type.Field" → text
	err      error
}

func (d *describer) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

func (d *describer) fields(v reflect.Value, path, inherits string) []*Setting {
	var list []*Setting
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			list = append(list, d.fields(v.Field(i), path, inherits)...)
			continue
		}
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if key == "" {
			continue
		}
		s := &Setting{
			Key:      key,
			Path:     strings.TrimPrefix(path+"."+key, "."),
			Doc:      d.comment(v.Type(), f.Name),
			Unit:     f.Tag.Get("unit"),
			Required: f.Tag.Get("required") != "",
			Show:     f.Tag.Get("show"),
			Example:  f.Tag.Get("example"),
		}
		if choices := f.Tag.Get("choices"); choices != "" {
			s.Choices = strings.Split(strings.TrimPrefix(choices, ","), ",")
		}
		if inherits != "" {
			s.Inherits = inherits + "." + key
		}
		if s.Doc == "" {
			d.fail("%s.%s (%s) has no comment to document it", v.Type(), f.Name, s.Path)
		}
		d.value(s, v.Field(i), f.Tag.Get("inherit"))
		if (s.Kind == Integer || s.Kind == Number) && s.Unit == "" {
			d.fail("%s.%s (%s) has no tag unit", v.Type(), f.Name, s.Path)
		}
		list = append(list, s)
	}
	return list
}

var textType = reflect.TypeFor[encoding.TextUnmarshaler]()

func (d *describer) value(s *Setting, v reflect.Value, inherit string) {
	t := v.Type()
	switch {
	case t.Kind() == reflect.Pointer:
		inner := config.ItemDefault(t.Elem())
		s.Kind, s.Absent, s.Children = Section, true, d.fields(inner, s.Path, "")
	case isSection(t):
		s.Kind = Section
		if inherit != "" {
			v, _ = d.inherited(v, inherit)
		}
		s.Children = d.fields(v, s.Path, inherit)
	case t.Kind() == reflect.Slice && isSection(t.Elem()):
		s.Kind, s.Default = Entries, "[]"
		s.Children = d.fields(config.ItemDefault(t.Elem()), s.Path+"[]", "")
	case t.Kind() == reflect.Slice:
		s.Kind = List + kindOf(t.Elem())
		items := make([]string, v.Len())
		for i := range items {
			items[i] = written(v.Index(i))
		}
		s.Default = "[" + strings.Join(items, ", ") + "]"
	default:
		s.Kind, s.Default = kindOf(t), written(v)
	}
}

// inherited is the value that an own section takes over: config.Default's.
func (d *describer) inherited(own reflect.Value, _ string) (reflect.Value, bool) {
	if _, ok := own.Interface().(config.ListenerLimits); ok {
		return reflect.ValueOf(config.Default().Limits.ListenerLimits), true
	}
	d.fail("%s inherits from nowhere", own.Type())
	return own, false
}

func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(textType)
}

func kindOf(t reflect.Type) Kind {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return Duration
	case t == reflect.TypeFor[config.Size]():
		return Size
	case t == reflect.TypeFor[config.File]():
		return Path
	case t == reflect.TypeFor[config.SecretFile]():
		return Secret
	case t.Name() == "ID":
		return GUID
	case t.Name() == "Path":
		return Space
	}
	switch t.Kind() {
	case reflect.Bool:
		return Switch
	case reflect.Int:
		return Integer
	case reflect.Float64:
		return Number
	}
	return Text
}

// written is a single value as YAML.
func written(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return config.FormatDuration(x)
	case config.Size:
		return x.String()
	case bool:
		if x {
			return "on"
		}
		return "off"
	case int, float64:
		return fmt.Sprint(x)
	case fmt.Stringer:
		if v.IsZero() {
			return `""`
		}
		return x.String()
	}
	return quoted(v.String())
}

var plain = regexp.MustCompile(`^[a-zA-Z/][a-zA-Z0-9/._-]*$`)

// quoted is a text as YAML, quoted where YAML could take it for something else.
func quoted(s string) string {
	if plain.MatchString(s) && s != "on" && s != "off" && s != "yes" && s != "no" && s != "true" && s != "false" && s != "null" {
		return s
	}
	return `"` + s + `"`
}

// comment is the text of a field: its comment without the sources that only
// somebody who reads the code looks up.
func (d *describer) comment(t reflect.Type, field string) string {
	dir := filepath.Join(d.root, strings.TrimPrefix(t.PkgPath(), "github.com/gatehouse/gatehouse"))
	if d.comments[dir] == nil {
		d.comments[dir] = map[string]string{}
		if err := readComments(dir, d.comments[dir]); err != nil {
			d.fail("%w", err)
		}
	}
	return d.comments[dir][t.Name()+"."+field]
}

var citation = regexp.MustCompile(`\s*\(docs/spec/[^)]*\)`)

func readComments(dir string, into map[string]string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, field := range s.Fields.List {
					for _, name := range field.Names {
						text := strings.Join(strings.Fields(field.Doc.Text()+" "+field.Comment.Text()), " ")
						into[spec.Name.Name+"."+name.Name] = citation.ReplaceAllString(text, "")
					}
				}
			}
			return true
		})
	}
	return nil
}
