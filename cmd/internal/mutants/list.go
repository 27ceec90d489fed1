package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// mutant is one change of one file, and the tests that have to notice it.
type mutant struct {
	sentence string // what the changed line stands for
	file     string // slash-separated, from the top of the module
	line     int    // where it stands in the list, for messages
	before   string // whole lines of the file, each with its line end; they occur there once
	after    string // what stands there instead
	pkg      string // of the tests, from the top of the module
	tests    []string
	cut      int // how many lines are removed
}

func (m mutant) String() string { return m.file + ": " + m.sentence }

// readList reads blocks that are separated by empty lines. Lines that begin with # are comments. A block is
//
//	a sentence, which the mutant breaks
//	the file
//	 a line before or after the change, after a space, where the changed line alone occurs twice
//	-the line as it is
//	+the line instead; several, or none
//	red: the package of the tests, and their names (regular expressions)
func readList(name string) ([]mutant, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var (
		list []mutant
		errs []error
		m    mutant
	)
	end := func() {
		if m.sentence == "" {
			return
		}
		if err := m.incomplete(); err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", name, m.line, err))
		}
		list = append(list, m)
		m = mutant{}
	}
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case line == "":
			end()
		case line[0] == '#':
		case m.sentence == "":
			m.sentence, m.line = line, i+1
		case m.file == "":
			m.file = line
		default:
			if err := m.add(line); err != nil {
				errs = append(errs, fmt.Errorf("%s:%d: %w", name, i+1, err))
			}
		}
	}
	end()
	return list, errors.Join(errs...)
}

func (m *mutant) add(line string) error {
	rest := line[1:] + "\n"
	switch line[0] {
	case ' ':
		m.before, m.after = m.before+rest, m.after+rest

	case '-':
		m.before += rest
		m.cut++
	case '+':
		m.after += rest
	default:
		tests, ok := strings.CutPrefix(line, "red: ")
		words := strings.Fields(tests)
		if !ok || len(words) < 2 {
			return errors.New(`want a line of the change, or "red: " with a package and its tests`)
		}
		m.pkg, m.tests = words[0], words[1:]
	}
	return nil
}

func (m *mutant) incomplete() error {
	switch {
	case m.file == "":
		return errors.New("no file")
	case m.cut == 0:
		return errors.New("no line that is changed: a mutant changes a line that is there")
	case m.before == m.after:
		return errors.New("the line is the same before and after")
	case m.pkg == "":
		return errors.New("no test")
	}
	return nil
}

// apply is the text of the file with the change. The lines must occur exactly once.
func (m *mutant) apply(text string) (string, error) {
	text = "\n" + text
	switch n := strings.Count(text, "\n"+m.before); n {
	case 0:
		return "", errors.New("the line is no longer there: name the one that does this now")
	case 1:
		return strings.Replace(text, "\n"+m.before, "\n"+m.after, 1)[1:], nil
	default:
		return "", fmt.Errorf("the line is there %d times: add the line before it or after it", n)
	}
}
