package config

import (
	"encoding"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Limits of a configuration file.
const (
	maxFile  = 1 << 20
	maxNodes = 20000
	maxLevel = 32
)

// Decode reads the YAML file into *into, which holds the defaults: a key that
// the file does not mention keeps its value. Unknown and duplicate keys,
// values of the wrong type, keys without a value, anchors and more than one
// document are problems, all of them reported. T is a struct with yaml tags of
// structs, slices, strings, booleans, numbers, time.Duration, Size, File,
// SecretFile, pointers to structs and encoding.TextUnmarshaler.
func Decode[T any](file string, into *T) []Problem {
	_, ps := decodeFile(file, into, os.Getenv)
	return ps
}

// DecodeSource is Decode that also says where each field stands.
func DecodeSource[T any](file string, into *T) (*Source, []Problem) {
	return decodeFile(file, into, os.Getenv)
}

func decodeFile(file string, into any, env func(string) string) (*Source, []Problem) {
	src := newSource(file)
	return src, readFile(src, into, env)
}

func readFile(src *Source, into any, env func(string) string) []Problem {
	file := src.File
	f, err := os.Open(file)
	if err != nil {
		return []Problem{{File: file, Message: "cannot be read: " + plain(err),
			Hint: "name an existing file with -config, readable for this user"}}
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return []Problem{{File: file, Message: "cannot be read: " + plain(err),
			Hint: "name an existing file with -config, readable for this user"}}
	}
	_, problems := decodeText(src, text, into, env)
	return problems
}

func decodeText(src *Source, text []byte, into any, env func(string) string) (*Source, []Problem) {
	src.place = placeOf(env)
	d := &decoder{src: src, env: env, dir: ".", retired: retiredOf(into)}
	if abs, err := filepath.Abs(src.File); err == nil {
		d.dir = filepath.Dir(abs)
	}
	if len(text) > maxFile {
		return src, []Problem{{File: src.File, Message: "is larger than 1 MiB", Hint: "this is not a configuration file"}}
	}
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return src, nil // an empty file says nothing
		}
		return src, []Problem{syntaxProblem(src.File, err)}
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		d.note(max(more.Line, 1), "", "holds more than one document", "keep one document: remove everything from the second --- on")
	}
	if len(doc.Content) == 1 {
		d.value(doc.Content[0], reflect.ValueOf(into).Elem(), "", 0)
		d.move(reflect.ValueOf(into).Elem())
	}
	sortProblems(d.problems)
	return src, d.problems
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

func syntaxProblem(file string, err error) Problem {
	p := Problem{File: file, Message: strings.TrimPrefix(err.Error(), "yaml: "),
		Hint: "this is not valid YAML: look at indentation, colons and quotes on this line and the one before"}
	if strings.Contains(p.Message, "cannot start any token") {
		p.Hint += "; YAML indents with spaces, never with tabs"
	}
	if m := yamlLine.FindStringSubmatch(p.Message); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
		p.Message = strings.Replace(p.Message, m[0], "", 1)
	}
	return p
}

type decoder struct {
	src      *Source
	env      func(string) string
	dir      string
	nodes    int
	problems []Problem
	retired  map[string]retired
	moving   []moving // keys at their old place
}

// report adds a problem; the field then counts as not read, so that nothing
// more is said about what it would have held.
func (d *decoder) report(line int, field, message, hint string) {
	d.src.unread[field] = true
	d.note(line, field, message, hint)
}

func (d *decoder) note(line int, field, message, hint string) {
	d.problems = append(d.problems, Problem{File: d.src.File, Line: line, Field: field, Message: message, Hint: hint})
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	sizeType     = reflect.TypeFor[Size]()
	fileType     = reflect.TypeFor[File]()
	secretType   = reflect.TypeFor[SecretFile]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
	listenerType = reflect.TypeFor[Listener]()
)

// itemDefaults hold what an element of a list, or a section that need not be
// there, has before it is read.
var itemDefaults = map[reflect.Type]func() any{
	listenerType:                   func() any { return defaultListener() },
	reflect.TypeFor[TLS]():         func() any { return TLS{MinVersion: "1.2"} },
	reflect.TypeFor[UpMapping]():   func() any { return UpMapping{QoS: 1} },
	reflect.TypeFor[DownMapping](): func() any { return DownMapping{QoS: 1} },
}

// ItemDefault is what an element of a list of t, or a section of type t that
// need not be there, has before it is read.
func ItemDefault(t reflect.Type) reflect.Value {
	if standard, ok := itemDefaults[t]; ok {
		return reflect.ValueOf(standard())
	}
	return reflect.Zero(t)
}

func (d *decoder) value(n *yaml.Node, v reflect.Value, field string, level int) {
	if d.nodes++; d.nodes > maxNodes || level > maxLevel {
		if d.nodes == maxNodes+1 || level == maxLevel+1 {
			d.report(n.Line, field, "is nested too deeply or too long", "this is not a configuration file")
		}
		return
	}
	if _, seen := d.src.lines[field]; !seen {
		d.src.lines[field] = n.Line
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		d.report(n.Line, field, "uses a YAML anchor or alias", "write the value out")
		return
	}
	section := v.Kind() == reflect.Struct && !reflect.PointerTo(v.Type()).Implements(textType)
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		if section && n.Value == "" && !strings.HasSuffix(field, "]") {
			return // all of its keys are commented out
		}
		d.report(n.Line, field, "has no value", "give it one, or remove the key to use the default")
		return
	}
	t := v.Type()
	switch {
	case t.Kind() == reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(t.Elem()))
			v.Elem().Set(ItemDefault(t.Elem()))
		}
		d.value(n, v.Elem(), field, level)
	case section:
		d.mapping(n, v, field, level)
	case t.Kind() == reflect.Slice:
		d.sequence(n, v, field, level)
	default:
		d.scalar(n, v, field)
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, field string, level int) {
	if n.Kind != yaml.MappingNode {
		d.report(n.Line, field, "must be a section of keys, not "+kindName(n),
			"write its keys below it, indented: "+strings.Join(keysOf(v.Type()), ", "))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		name := join(field, key.Value)
		if first, dup := seen[key.Value]; dup {
			d.note(key.Line, name, fmt.Sprintf("is given twice (first on line %d)", first), "keep one of the two")
			continue
		}
		seen[key.Value] = key.Line
		index, ok := fieldByKey(v.Type(), key.Value)
		if r, was := d.retired[indexes.ReplaceAllString(name, "[]")]; !ok && was {
			d.retire(r, name, key, val)
			continue
		}
		if !ok {
			d.report(key.Line, name, "is not a setting", unknownHint(key.Value, keysOf(v.Type())))
			continue
		}
		d.src.lines[name] = key.Line
		d.value(val, v.FieldByIndex(index), name, level+1)
	}
}

func (d *decoder) sequence(n *yaml.Node, v reflect.Value, field string, level int) {
	if n.Kind != yaml.SequenceNode {
		d.report(n.Line, field, "must be a list, not "+kindName(n), "write one item a line, each after \"- \"")
		return
	}
	out := reflect.MakeSlice(v.Type(), 0, len(n.Content))
	for i, item := range n.Content {
		e := reflect.New(v.Type().Elem()).Elem()
		e.Set(ItemDefault(e.Type()))
		d.value(item, e, fmt.Sprintf("%s[%d]", field, i), level+1)
		out = reflect.Append(out, e)
	}
	v.Set(out) // a list in the file replaces the default list
}

func plain(err error) string {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
