package reference

import (
	"cmp"
	"strings"
)

// Example is a file that can be started from: what must be given is given, and
// every other key stands in it. Three kinds of comment can be told apart by
// their beginning: "# " is text, "#key:" a default, "## " an example.
func Example(head string, settings []*Setting) []byte {
	e := &example{}
	e.b.WriteString(head)
	for _, s := range settings {
		e.b.WriteString("\n")
		e.setting(s, "")
	}
	return []byte(e.b.String())
}

type example struct{ b strings.Builder }

const width = 110

// text writes a comment, wrapped.
func (e *example) text(indent, doc string) {
	line := indent + "#"
	for _, word := range strings.Fields(doc) {
		if len(line)+1+len(word) > width && line != indent+"#" {
			e.b.WriteString(line + "\n")
			line = indent + "#"
		}
		line += " " + word
	}
	e.b.WriteString(line + "\n")
}

// doc is the text above a key, with the choices of its value.
func doc(s *Setting) string {
	d := s.Doc
	if len(s.Choices) > 0 {
		d += " One of " + strings.Join(s.Choices, ", ") + "."
	}
	if (s.Kind == Integer || s.Kind == Number) && !strings.Contains(strings.ToLower(d), strings.ToLower(s.Unit)) {
		d += " Unit: " + s.Unit + "."
	}
	return d
}

func quotedShow(s *Setting, value string) string {
	if strings.HasPrefix(string(s.Kind), string(List)) || s.Kind == Integer || s.Kind == GUID {
		return value
	}
	return quoted(value)
}

// setting writes one key, set or commented out.
func (e *example) setting(s *Setting, indent string) {
	text := doc(s)
	if s.Show == "" && s.Example != "" && len(s.Children) == 0 {
		text += " Such as " + quotedShow(s, s.Example) + "."
	}
	e.text(indent, text)
	switch {
	case s.Kind == Entries && s.Show != "":
		e.b.WriteString(indent + s.Key + ":\n")
		e.item(s.Children, indent+"  ")
	case s.Kind == Entries:
		e.b.WriteString(indent + "#" + s.Key + ": []\n")
		e.shown(s, indent+"## ", "")
	case s.Absent && s.Show == "":
		e.shown(s, indent+"## ", "")
	case s.Kind == Section:
		e.b.WriteString(indent + s.Key + ":\n")
		for _, c := range s.Children {
			e.setting(c, indent+"  ")
		}
	case s.Show != "":
		e.b.WriteString(indent + s.Key + ": " + quotedShow(s, s.Show) + "\n")
	default:
		e.b.WriteString(indent + "#" + s.Key + ": " + s.Default + "\n")
	}
}

// item writes the entry of a list that the file sets. Its first key is one that is set.
func (e *example) item(settings []*Setting, indent string) {
	first := settings[0]
	e.text(indent, doc(first))
	e.b.WriteString(indent + "- " + first.Key + ": " + quotedShow(first, first.Show) + "\n")
	for _, s := range settings[1:] {
		e.setting(s, indent+"  ")
	}
}

// shown writes a section, or a list with one entry, as an example: every line
// after the marker, so that without it the lines are in their place.
func (e *example) shown(s *Setting, marker, indent string) {
	e.b.WriteString(marker + indent + s.Key + ":\n")
	for i, c := range s.Children {
		lead := indent + "  "
		if s.Kind == Entries {
			lead += "  "
			if i == 0 {
				lead = indent + "  - "
			}
		}
		e.line(c, marker, lead, s.Kind == Entries)
	}
}

// line writes one key of an example. In the entry of a list it has the value of
// its example; in a section only what must be given has one.
func (e *example) line(s *Setting, marker, lead string, entry bool) {
	inner := strings.Repeat(" ", len(lead))
	e.text(marker+inner, doc(s))
	if s.Kind == Section {
		e.b.WriteString(marker + lead + s.Key + ":\n")
		for _, c := range s.Children {
			e.line(c, marker, inner+"  ", entry)
		}
		return
	}
	value := s.Default
	if set := cmp.Or(s.Example, s.Show); set != "" && (entry || s.Required) {
		value = quotedShow(s, set)
	}
	e.b.WriteString(marker + lead + s.Key + ": " + value + "\n")
}
