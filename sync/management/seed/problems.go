package seed

import (
	"errors"
	"fmt"
)

// maxProblems is how many are told at once: a list of a thousand wrong elements
// has one reason.
const maxProblems = 50

// problems collects what is wrong with a file.
type problems struct {
	list []error
	more int
}

func (p *problems) add(err error) {
	switch {
	case err == nil || errors.Is(err, errFull):
	case len(p.list) < maxProblems:
		p.list = append(p.list, err)
	default:
		p.more++
	}
}

var errFull = errors.New("too many problems")

// full ends a reading that has found enough.
func (p *problems) full() error {
	if len(p.list) == maxProblems {
		return errFull
	}
	return nil
}

func (p *problems) err() error {
	if p.more > 0 {
		return errors.Join(append(p.list, fmt.Errorf("and %d more", p.more))...)
	}
	return errors.Join(p.list...)
}
