package reference

import (
	"fmt"
	"strings"
)

// Markdown is the reference page: intro, and a table for each top-level key.
func Markdown(intro string, settings []*Setting) []byte {
	var b strings.Builder
	b.WriteString(intro)
	b.WriteString("\n")
	for _, s := range settings {
		fmt.Fprintf(&b, "\n## %s\n\n", s.Key)
		if len(s.Children) > 0 {
			b.WriteString(s.Doc + "\n\n")
		}
		b.WriteString("| key | value | default | what it does |\n|---|---|---|---|\n")
		row(&b, s, true)
	}
	return []byte(b.String())
}

func row(b *strings.Builder, s *Setting, top bool) {
	if !top || len(s.Children) == 0 || s.Kind == Entries {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", s.Path, cell(valueOf(s)), cell(defaultOf(s)), cell(s.Doc))
	}
	for _, c := range s.Children {
		row(b, c, false)
	}
}

func valueOf(s *Setting) string {
	switch {
	case len(s.Choices) > 0:
		return "`" + strings.Join(s.Choices, "`, `") + "`"
	case s.Kind == Integer || s.Kind == Number:
		return string(s.Kind) + ", " + s.Unit
	case s.Unit != "":
		return string(List) + s.Unit + "s"
	case s.Kind == Text && s.Default == `""`:
		return "text"
	}
	return string(s.Kind)
}

func defaultOf(s *Setting) string {
	switch {
	case s.Required:
		return "must be given"
	case s.Inherits != "":
		return "`" + s.Inherits + "`"
	case s.Absent:
		return "absent"
	case s.Kind == Section:
		return ""
	case s.Default == `""` || s.Default == "[]":
		return "empty"
	}
	return "`" + s.Default + "`"
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
