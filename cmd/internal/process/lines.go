package process

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Lines is an Output that keeps every line in memory. A line is kept once its
// end is written; Close keeps a last one that has no end.
type Lines struct {
	mu    sync.Mutex
	lines []string      // guarded by mu; only appended to
	part  []byte        // guarded by mu: the beginning of a line whose end has not come
	more  chan struct{} // guarded by mu: closed and replaced with each Write
	ended chan struct{} // closed by Close
}

// NewLines is an Output that has nothing yet.
func NewLines() *Lines { return &Lines{more: make(chan struct{}), ended: make(chan struct{})} }

// Write never fails.
func (l *Lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part = append(l.part, b...)
	for {
		line, rest, whole := bytes.Cut(l.part, []byte("\n"))
		if !whole {
			break
		}
		l.lines, l.part = append(l.lines, string(bytes.TrimSuffix(line, []byte("\r")))), rest
	}
	close(l.more)
	l.more = make(chan struct{})
	return len(b), nil
}

// Close says that nothing more comes. It is called once.
func (l *Lines) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.part) > 0 {
		l.lines, l.part = append(l.lines, string(l.part)), nil
	}
	close(l.ended)
	return nil
}

// All is a copy of the lines so far.
func (l *Lines) All() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// Text is everything so far.
func (l *Lines) Text() string { return strings.Join(l.All(), "\n") }

// Await waits for a line, past or to come, that contains text. It is an error
// when no such line comes in time, or when nothing more can come.
func (l *Lines) Await(text string, within time.Duration) (string, error) {
	deadline := time.After(within)
	for next := 0; ; {
		var over bool
		select {
		case <-l.ended:
			over = true // what was written before is read below
		default:
		}
		l.mu.Lock()
		lines, more := l.lines, l.more
		l.mu.Unlock()
		for ; next < len(lines); next++ {
			if strings.Contains(lines[next], text) {
				return lines[next], nil
			}
		}
		if over {
			return "", fmt.Errorf("it ended without writing %q:\n%s", text, Tail(l.Text(), 20))
		}
		select {
		case <-more:
		case <-l.ended:
		case <-deadline:
			return "", fmt.Errorf("it did not write %q within %v:\n%s", text, within, Tail(l.Text(), 20))
		}
	}
}
