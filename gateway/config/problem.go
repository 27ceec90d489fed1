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
	// Warning: the daemon starts all the same. Problems that are not warnings keep it from starting.
	Warning bool `json:"warning,omitempty"`
}

// String is "file:line: field: message", with "warning: " before the message
// of a warning, and the fix on a line of its own.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Field != "" {
		b.WriteString(": " + p.Field)
	}
	b.WriteString(": ")
	if p.Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(p.Message)
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

// Said tells whether one of found is about the same field of the same file as
// p, about a part of it, or about what it is a part of.
func Said(found []Problem, p Problem) bool {
	return slices.ContainsFunc(found, func(f Problem) bool {
		return f.File == p.File && (within(f.Field, p.Field) || within(p.Field, f.Field))
	})
}

// Merge adds to found what a later look found beyond it. A mistake that
// several parts of the program run into is one problem: the first report
// stays, because whoever looked first knows best what is wrong.
func Merge(found []Problem, later ...Problem) []Problem {
	more := slices.DeleteFunc(slices.Clone(later), func(p Problem) bool { return Said(found, p) })
	return append(slices.Clip(found), more...)
}

// within tells whether a field is the other one or a part of it.
func within(field, of string) bool {
	for ; field != of; field = parent(field) {
		if field == "" {
			return false
		}
	}
	return true
}

// Source remembers where each field of a decoded file stands.
type Source struct {
	File     string
	lines    map[string]int
	unread   map[string]bool // fields whose value could not be read
	warnings []Problem       // in the order of the file
	// elsewhere: who reads is not the service and may lack its credentials.
	elsewhere bool
	unseen    []string // fields that name such a credential, in the order of the file
	place     Place
}

// Warnings are what an operator should mend although the daemon starts:
// keys that moved or lost their meaning, each with the line to write instead.
func (s *Source) Warnings() []Problem {
	if s == nil {
		return nil
	}
	return slices.Clone(s.warnings)
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

// Unseen are the fields that name a credential of the service which this
// process does not have (LoadForCheck), so that nothing can be said about its file.
func (c *Config) Unseen() []string {
	if c.src == nil {
		return nil
	}
	return slices.Clone(c.src.unseen)
}

// Warnings are those of the file that this configuration was read from.
func (c *Config) Warnings() []Problem { return c.src.Warnings() }

// Problem makes a Problem about a field of this configuration, at its line.
func (c *Config) Problem(field, message, hint string) Problem {
	return c.src.Problem(field, message, hint)
}
