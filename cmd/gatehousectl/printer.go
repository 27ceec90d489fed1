package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gatehouse/gatehouse/gateway/admin"
)

type colour string

const (
	plain  colour = ""
	bold   colour = "1"
	dim    colour = "2"
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
)

// printer writes text for people. Whatever it prints may have been chosen by
// a stranger (client ids, topics): control characters never reach the
// terminal. Colours are for terminals only, and not with NO_COLOR.
type printer struct {
	w      io.Writer
	colour bool
	places func() *admin.Places // names spaces; asked when the first space path is printed. Nil: ids are printed
	err    error
}

func newPrinter(w io.Writer) *printer {
	return &printer{w: w, colour: isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// cell is one piece of text with its colour.
type cell struct {
	text string
	c    colour
}

func text(format string, args ...any) cell       { return cell{fmt.Sprintf(format, args...), plain} }
func in(c colour, format string, a ...any) cell  { return cell{fmt.Sprintf(format, a...), c} }
func (p *printer) line(cells ...cell)            { p.write(p.join(cells, nil)) }
func (p *printer) linef(format string, a ...any) { p.line(text(format, a...)) }
func (p *printer) field(name string, cs ...cell) {
	p.line(append([]cell{in(dim, "%-12s", name)}, cs...)...)
}
func (p *printer) write(s string) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, s+"\n")
	}
}

func (p *printer) join(cells []cell, widths []int) string {
	var b strings.Builder
	for i, c := range cells {
		if c.text == "" && widths == nil {
			continue
		}
		if b.Len() > 0 || i > 0 && widths != nil {
			b.WriteByte(' ')
		}
		s := p.shown(c.text)
		if p.colour && c.c != plain && s != "" {
			b.WriteString("\x1b[" + string(c.c) + "m" + s + "\x1b[0m")
		} else {
			b.WriteString(s)
		}
		if i < len(widths) && i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", 1+widths[i]-utf8.RuneCountInString(s)))
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// table aligns columns; the head is left out when there are no rows.
func (p *printer) table(head []string, rows [][]cell, none string) {
	if len(rows) == 0 {
		p.line(in(dim, "%s", none))
		return
	}
	head, rows = withoutEmpty(head, rows)
	first := make([]cell, len(head))
	for i, h := range head {
		first[i] = in(dim, "%s", h)
	}
	rows = append([][]cell{first}, rows...)
	widths := make([]int, len(head))
	for _, row := range rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(p.shown(c.text)))
		}
	}
	for _, row := range rows {
		p.write(p.join(row, widths))
	}
}

// withoutEmpty leaves out the columns that hold nothing in any row.
func withoutEmpty(head []string, rows [][]cell) ([]string, [][]cell) {
	var keep []int
	for i := range head {
		if slices.ContainsFunc(rows, func(row []cell) bool { return row[i].text != "" }) {
			keep = append(keep, i)
		}
	}
	heads := make([]string, len(keep))
	out := make([][]cell, len(rows))
	for k, i := range keep {
		heads[k] = head[i]
		for r, row := range rows {
			out[r] = append(out[r], row[i])
		}
	}
	return heads, out
}

// problem writes an error: what failed, where, and what to do next.
func (p *printer) problem(e *admin.Error) {
	p.line(in(red, "error:"), text("%s", e.What))
	if e.Where != "" {
		p.line(in(dim, "where:"), text("%s", e.Where))
	}
	if e.Next != "" {
		p.line(in(dim, "next: "), text("%s", e.Next))
	}
}

// shown is a text as it is printed: spaces by their names, and no control characters.
func (p *printer) shown(s string) string {
	if p.places != nil && admin.Pathed(s) {
		if names := p.places(); names != nil {
			s = names.Named(s)
		}
	}
	return clean(s)
}

// clean replaces control characters, which a terminal would obey instead of showing.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Cf, r) {
			return '·'
		}
		return r
	}, s)
}
