package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// style colours what a person reads; a pipe or NO_COLOR gets plain text.
type style struct{ on bool }

func styleFor(f *os.File) style {
	info, err := f.Stat()
	return style{on: err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// terminalWidth is that of the terminal; where there is none, lines are never cut.
func terminalWidth(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col < 40 {
		return 1 << 16
	}
	return int(size.Col)
}

func (s style) paint(code, text string) string {
	if !s.on {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) bold(t string) string  { return s.paint("1", t) }
func (s style) green(t string) string { return s.paint("32", t) }
func (s style) red(t string) string   { return s.paint("1;31", t) }
func (s style) dim(t string) string   { return s.paint("2", t) }
func (s style) cyan(t string) string  { return s.paint("36", t) }

// A finding is one row of the smoke test's table.
type finding struct {
	assert string // number of the assert it belongs to
	what   string
	err    error
	detail string // what was seen, measured
	took   time.Duration
}

// findings collects rows and prints each as it comes.
type findings struct {
	out  io.Writer
	st   style
	rows []finding
}

// check runs one check, prints its row and keeps it.
func (f *findings) check(assert, what string, run func() (string, error)) {
	began := time.Now()
	detail, err := run()
	row := finding{
		assert: assert,
		what:   what,
		err:    err,
		detail: detail,
		took:   time.Since(began),
	}
	f.rows = append(f.rows, row)
	f.print(row)
}

func (f *findings) print(r finding) {
	mark := f.st.green("ok  ")
	if r.err != nil {
		mark = f.st.red("FAIL")
	}
	fmt.Fprintf(f.out, "  %s %s  %s %s\n", mark, r.assert, pad(r.what, 74),
		f.st.dim(fmt.Sprintf("%5d ms  %s", r.took.Milliseconds(), r.detail)))
	if r.err != nil {
		fmt.Fprintf(f.out, "         %s\n", f.st.red(r.err.Error()))
	}
}

// summary prints one line an assert and says whether everything held.
func (f *findings) summary(titles [][2]string) bool {
	good := true
	fmt.Fprintln(f.out)
	for _, t := range titles {
		held, total := 0, 0
		for _, r := range f.rows {
			if r.assert == t[0] {
				total++
				if r.err == nil {
					held++
				}
			}
		}
		mark := f.st.green("PASS")
		if held < total || total == 0 {
			mark, good = f.st.red("FAIL"), false
		}
		fmt.Fprintf(f.out, "  %s  %s. %s %s\n", mark, t[0], pad(t[1], 78), f.st.dim(fmt.Sprintf("%d of %d checks", held, total)))
	}
	return good
}

func (f *findings) failed() int {
	n := 0
	for _, r := range f.rows {
		if r.err != nil {
			n++
		}
	}
	return n
}

func pad(s string, width int) string {
	if n := utf8.RuneCountInString(s); n < width {
		return s + strings.Repeat(" ", width-n)
	}
	return s
}
