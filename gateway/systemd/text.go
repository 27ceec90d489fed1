package systemd

import (
	"context"
	"encoding"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/gateway/printable"
)

// Text is a slog.Handler that writes lines for people: the time of day, the level, the message and
// key=value pairs, in colours on a terminal. Message and values may hold what a client chose: they are
// written through package printable, so that a terminal obeys nothing but the handler's own colours.
type Text struct {
	level  slog.Leveler
	colour bool
	prefix string // the names of the groups, each with a dot behind it
	given  string // the pairs of WithAttrs, as they are written

	mu *sync.Mutex // held while a line is written; shared by all handlers made from one
	w  io.Writer
}

// NewText returns a handler that writes to w, in colours if colour is true.
func NewText(w io.Writer, level slog.Leveler, colour bool) *Text {
	return &Text{level: level, colour: colour, mu: new(sync.Mutex), w: w}
}

// The colours of ECMA-48, SGR.
const (
	faint  = "\x1b[2m"
	red    = "\x1b[91m"
	yellow = "\x1b[93m"
	green  = "\x1b[92m"
	reset  = "\x1b[0m"
)

// Enabled implements slog.Handler.
func (h *Text) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// Handle implements slog.Handler.
func (h *Text) Handle(_ context.Context, r slog.Record) error {
	line := h.paint(faint, r.Time.Format("15:04:05.000")) + " " + h.levelName(r.Level) + " " + printable.Text(r.Message) + h.given
	r.Attrs(func(a slog.Attr) bool {
		line += h.pairs(h.prefix, a)
		return true
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, line+"\n")
	return err
}

// WithAttrs implements slog.Handler.
func (h *Text) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	for _, a := range attrs {
		c.given += h.pairs(h.prefix, a)
	}
	return &c
}

// WithGroup implements slog.Handler.
func (h *Text) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.prefix += name + "."
	return &c
}

// pairs is an attribute as " key=value", or a group as one such pair for each of its attributes.
func (h *Text) pairs(prefix string, a slog.Attr) string {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		all := ""
		for _, sub := range v.Group() {
			all += h.pairs(prefix, sub)
		}
		return all
	}
	if a.Equal(slog.Attr{}) {
		return ""
	}
	return " " + h.paint(faint, printable.Value(prefix+a.Key)+"=") + printable.Value(textOf(v))
}

func textOf(v slog.Value) string {
	switch v.Kind() {
	case slog.KindTime:
		return v.Time().Format(time.RFC3339Nano)
	case slog.KindAny:
		if m, ok := v.Any().(encoding.TextMarshaler); ok {
			if b, err := m.MarshalText(); err == nil {
				return string(b)
			}
		}
		return fmt.Sprintf("%+v", v.Any())
	}
	return v.String()
}

func (h *Text) levelName(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return h.paint(red, "ERR")
	case l >= slog.LevelWarn:
		return h.paint(yellow, "WRN")
	case l >= slog.LevelInfo:
		return h.paint(green, "INF")
	}
	return "DBG"
}

func (h *Text) paint(colour, text string) string {
	if !h.colour {
		return text
	}
	return colour + text + reset
}
