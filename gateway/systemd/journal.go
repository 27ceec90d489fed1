package systemd

import (
	"context"
	"log/slog"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/gatehouse/gatehouse/gateway/printable"
)

// Sender has the signature of journal.Send.
type Sender func(message string, priority journal.Priority, fields map[string]string) error

// Journal is a slog.Handler that speaks the journal's native protocol. Each attribute becomes a
// field with its name in upper case (client_id: CLIENT_ID); the names of groups are joined with
// '_'. A name that the journal does not accept is changed into one that it does. A leading '_'
// is removed, because such fields are set by the journal only. An entry that the journal does
// not accept goes to the fallback handler. Message and fields are written through package printable:
// journalctl shows them as they are where it is asked for single fields, or for all of a message.
type Journal struct {
	name     string // SYSLOG_IDENTIFIER
	level    slog.Leveler
	send     Sender
	fallback slog.Handler
	prefix   string
	fields   []field // from WithAttrs; never changed in place, because handlers share it
}

type field struct{ name, value string }

// NewJournal returns a handler for the program called name.
func NewJournal(name string, level slog.Leveler, send Sender, fallback slog.Handler) *Journal {
	return &Journal{name: name, level: level, send: send, fallback: fallback}
}

// Enabled implements slog.Handler.
func (j *Journal) Enabled(_ context.Context, l slog.Level) bool { return l >= j.level.Level() }

// Handle implements slog.Handler.
func (j *Journal) Handle(ctx context.Context, r slog.Record) error {
	fields := make(map[string]string, len(j.fields)+r.NumAttrs()+1)
	for _, f := range j.fields {
		fields[f.name] = f.value
	}
	var own []field
	r.Attrs(func(a slog.Attr) bool {
		own = appendAttr(own, j.prefix, a)
		return true
	})
	for _, f := range own {
		fields[f.name] = f.value
	}
	fields["SYSLOG_IDENTIFIER"] = j.name
	if j.send(printable.Lines(r.Message), priority(r.Level), fields) == nil {
		return nil
	}
	return j.fallback.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (j *Journal) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *j
	c.fields = append([]field(nil), j.fields...)
	for _, a := range attrs {
		c.fields = appendAttr(c.fields, j.prefix, a)
	}
	c.fallback = j.fallback.WithAttrs(attrs)
	return &c
}

// WithGroup implements slog.Handler.
func (j *Journal) WithGroup(name string) slog.Handler {
	if name == "" {
		return j
	}
	c := *j
	c.prefix = j.prefix + name + "_"
	c.fallback = j.fallback.WithGroup(name)
	return &c
}

func appendAttr(fields []field, prefix string, a slog.Attr) []field {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "_"
		}
		for _, sub := range v.Group() {
			fields = appendAttr(fields, prefix, sub)
		}
		return fields
	}
	if a.Equal(slog.Attr{}) {
		return fields
	}
	return append(fields, field{fieldName(prefix + a.Key), printable.Lines(v.String())})
}

// fieldName turns key into a field name that the journal accepts (A-Z, 0-9 and '_', at most 64
// bytes, beginning with a letter), and that neither this handler nor the journal sets.
func fieldName(key string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z' || r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
	name = strings.TrimLeft(name, "_")
	switch {
	case name == "" || name[0] <= '9', name == "MESSAGE", name == "PRIORITY", name == "SYSLOG_IDENTIFIER":
		name = "FIELD_" + name
	}
	return name[:min(len(name), 64)]
}

func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
