package seed

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxElement bounds what is held of a file at once, in bytes: one element of a
// list, which may be a whole tree of spaces, or one list that is written in
// brackets.
const maxElement = 16 << 20

// Item is one element of a list, or a value that is no list.
type Item struct {
	Section string // the key at the margin that it stands below
	Line    int    // its first line, from 1
	single  bool   // a value that is no list
	moved   bool   // text is not as it stands in the file, so that its lines are others
	text    []byte // a list of one element
}

// Lists reads a file of YAML whose keys at the margin are of the given sections
// and hold a list, or one value, each. It yields the elements in the order of the file, and holds one
// at a time: the file may be of any length, an element has 16 MiB at most. An
// error names the line. Where a list is written in brackets it counts as one
// element. An anchor is known within its element only.
func Lists(r io.Reader, sections []string, yield func(Item) error) error {
	s := splitter{sections: sections, seen: map[string]bool{}, yield: yield}
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		text, err := readLine(in)
		if len(text) > 0 {
			s.line++
			if err := s.take(text); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return s.flush()
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", s.line+1, err)
		}
	}
}

// readLine returns a line with its end; io.EOF with or after the last one.
func readLine(in *bufio.Reader) (text []byte, err error) {
	for {
		part, err := in.ReadSlice('\n')
		text = append(text, part...)
		if len(text) > maxElement {
			return nil, errTooLong
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, err
		}
	}
}

var errTooLong = fmt.Errorf("one element has more than %d MiB: begin each element of a list on a line of its own", maxElement>>20)

// splitter cuts a file into elements by the indentation of their dashes: what
// belongs to an element of a block sequence is indented deeper than its dash
// (YAML 1.2.2, 8.2.1).
type splitter struct {
	sections []string
	seen     map[string]bool
	yield    func(Item) error
	line     int // the one that is read

	section string
	dash    int // indentation of the section's list; -1: not seen yet, or no block sequence
	inline  bool
	start   int // line of the buffer's first
	buffer  []byte
}

var keyAtMargin = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9_-]*):(?:[ \t\r\n]|$)`)

func (s *splitter) take(text []byte) error {
	if s.line == 1 {
		text = bytes.TrimPrefix(text, []byte("\ufeff"))
	}
	content := bytes.TrimSpace(text)
	indent := len(text) - len(bytes.TrimLeft(text, " "))
	switch {
	case len(content) == 0 || content[0] == '#':
		if len(s.buffer) == 0 {
			return nil
		}
		return s.keep(text)
	case indent == 0 && (bytes.HasPrefix(text, []byte("---")) || bytes.HasPrefix(text, []byte("..."))):
		if len(s.seen) > 0 || len(content) > 3 {
			return fmt.Errorf("line %d: the file holds more than one document: remove everything from here on", s.line)
		}
		return nil
	case indent == 0 && content[0] != '-' && content[0] != ']' && content[0] != '}':
		return s.begin(text)
	case s.section == "":
		return fmt.Errorf("line %d: the name of a list is expected at the margin, one of %s", s.line, strings.Join(s.sections, ", "))
	}
	if !s.inline && content[0] == '-' && (len(content) == 1 || content[1] == ' ' || content[1] == '\t') {
		if s.dash < 0 {
			s.dash, s.buffer = indent, s.buffer[:0]
		}
		if s.dash == indent {
			if err := s.flush(); err != nil {
				return err
			}
			s.start = s.line
		}
		return s.keep(text)
	}
	if s.dash < 0 {
		s.inline = true
	}
	return s.keep(text)
}

// begin starts a section at its key.
func (s *splitter) begin(text []byte) error {
	if err := s.flush(); err != nil {
		return err
	}
	m := keyAtMargin.FindSubmatch(text)
	if m == nil {
		return fmt.Errorf("line %d: the name of a list and a colon are expected, one of %s", s.line, strings.Join(s.sections, ", "))
	}
	name := string(m[1])
	if !slices.Contains(s.sections, name) {
		return fmt.Errorf("line %d: %s is no list of this file: it has %s", s.line, name, strings.Join(s.sections, ", "))
	}
	if s.seen[name] {
		return fmt.Errorf("line %d: %s is there twice", s.line, name)
	}
	s.seen[name] = true
	rest := bytes.TrimSpace(text[len(name)+1:])
	s.section, s.dash, s.start = name, -1, s.line
	s.inline = len(rest) > 0 && rest[0] != '#'
	return s.keep(text)
}

func (s *splitter) keep(text []byte) error {
	if len(s.buffer)+len(text) > maxElement {
		return fmt.Errorf("line %d: %w", s.start, errTooLong)
	}
	s.buffer = append(s.buffer, text...)
	return nil
}

// flush yields what the buffer holds.
func (s *splitter) flush() error {
	text := s.buffer
	s.buffer = s.buffer[:0]
	switch {
	case len(text) == 0 || s.dash < 0 && !s.inline: // nothing, or a key without a value
		return nil
	case s.dash >= 0:
		return s.yield(Item{Section: s.section, Line: s.start, text: text})
	}
	var whole map[string]yaml.Node
	if err := yaml.Unmarshal(text, &whole); err != nil {
		return located(err, s.start, text)
	}
	value := whole[s.section]
	list, single := value.Content, value.Kind != yaml.SequenceNode
	if value.Tag == "!!null" {
		return nil
	}
	if single {
		list = []*yaml.Node{&value}
	}
	for _, n := range list {
		one, err := yaml.Marshal([]*yaml.Node{n})
		if err != nil {
			return fmt.Errorf("line %d: %w", s.start+n.Line-1, err)
		}
		if err := s.yield(Item{Section: s.section, Line: s.start + n.Line - 1, single: single, moved: true, text: one}); err != nil {
			return err
		}
	}
	return nil
}

// Element decodes an element of a list; unknown members are refused.
func Element[T any](i Item) (v T, err error) {
	if i.single {
		return v, fmt.Errorf("line %d: %s: a list is expected", i.Line, i.Section)
	}
	return decode[T](i)
}

// Value decodes what is no list.
func Value[T any](i Item) (v T, err error) {
	if !i.single {
		return v, fmt.Errorf("line %d: %s: one value is expected, no list", i.Line, i.Section)
	}
	return decode[T](i)
}

func decode[T any](i Item) (v T, err error) {
	dec := yaml.NewDecoder(bytes.NewReader(i.text))
	dec.KnownFields(true)
	var list []T
	if err := dec.Decode(&list); err != nil {
		if i.moved {
			return v, fmt.Errorf("line %d: %s", i.Line, yamlLine.ReplaceAllString(plain(err), ""))
		}
		return v, located(err, i.Line, i.text)
	}
	if len(list) != 1 {
		return v, fmt.Errorf("line %d: %s: one element is expected", i.Line, i.Section)
	}
	return list[0], nil
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

// plain is an error of the decoder on one line.
func plain(err error) string {
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "yaml: "), "unmarshal errors:\n  ")
	return strings.ReplaceAll(text, "\n  ", "; ")
}

// located is plain with lines that count from first on, where text begins. The
// decoder may say that a text ends too early behind its last line.
func located(err error, first int, of []byte) error {
	text, last := plain(err), first+max(0, bytes.Count(of, []byte("\n"))-1)
	if !yamlLine.MatchString(text) {
		return fmt.Errorf("line %d: %s", first, text)
	}
	return errors.New(yamlLine.ReplaceAllStringFunc(text, func(m string) string {
		n, _ := strconv.Atoi(m[len("line ") : len(m)-len(": ")])
		return fmt.Sprintf("line %d: ", min(first+n-1, last))
	}))
}
