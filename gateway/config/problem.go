package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong, where, and what helps.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`  // 1-based; 0: the file as a whole
	Field   string `json:"field"` // "listeners[0].tls.cert"; "" when it is about the text
	Message string `json:"message"`
	Hint    string `json:"hint"` // the fix
}

// String is "file:line: field: message (hint)".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Field != "" {
		b.WriteString(": " + p.Field)
	}
	b.WriteString(": " + p.Message)
	if p.Hint != "" {
		b.WriteString("\n\tfix: " + p.Hint)
	}
	return b.String()
}

// Error makes a Problem usable as an error.
func (p Problem) Error() string { return p.String() }

// sortProblems orders by line, keeping the order of discovery within a line.
func sortProblems(ps []Problem) {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
}

// Source remembers where each field of a decoded file stands.
type Source struct {
	File   string
	lines  map[string]int
	unread map[string]bool // fields whose value could not be read
}

func newSource(file string) *Source {
	return &Source{File: file, lines: map[string]int{}, unread: map[string]bool{}}
}

// Line is the line of field, or of the nearest field above it that the file
// mentions: a missing key is reported where it should have been.
func (s *Source) Line(field string) int {
	if s == nil {
		return 0
	}
	for f := field; ; {
		if n, ok := s.lines[f]; ok {
			return n
		}
		if f == "" {
			return 1
		}
		i := strings.LastIndexAny(f, ".[")
		if i < 0 {
			f = ""
		} else {
			f = f[:i]
		}
	}
}

// Has tells whether the file itself says something about field.
func (s *Source) Has(field string) bool {
	if s == nil {
		return false
	}
	_, ok := s.lines[field]
	return ok
}

// Problem makes a Problem about field.
func (s *Source) Problem(field, message, hint string) Problem {
	p := Problem{Line: s.Line(field), Field: field, Message: message, Hint: hint}
	if s != nil {
		p.File = s.File
	}
	return p
}

// Problem makes a Problem about a field of this configuration, at its line.
func (c *Config) Problem(field, message, hint string) Problem {
	return c.src.Problem(field, message, hint)
}
