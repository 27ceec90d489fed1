package systemd

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

type entry struct {
	Message  string
	Priority journal.Priority
	Fields   map[string]string
}

func TestJournal(t *testing.T) {
	var got []entry
	var fallback bytes.Buffer
	var fail error
	j := NewJournal("gatehoused", slog.LevelInfo, func(m string, p journal.Priority, f map[string]string) error {
		if fail == nil {
			got = append(got, entry{m, p, f})
		}
		return fail
	}, slog.NewTextHandler(&fallback, nil))
	log := slog.New(j).With("part", "broker").WithGroup("session")
	log.Debug("not this")
	log.Warn("two\nlines", "client-id", "a", slog.Group("tls", "Version", 3), "_PID", 1, "message", "m", "1st", true, "MESSAGE=x\nPRIORITY", 0)
	want := []entry{{"two\nlines", journal.PriWarning, map[string]string{
		"SYSLOG_IDENTIFIER": "gatehoused", "PART": "broker", "SESSION_CLIENT_ID": "a", "SESSION_TLS_VERSION": "3", "SESSION__PID": "1",
		"SESSION_MESSAGE": "m", "SESSION_1ST": "true", "SESSION_MESSAGE_X_PRIORITY": "0",
	}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	fail = errors.New("no journal")
	log.Error("kept", "client", "b")
	if !strings.Contains(fallback.String(), "part=broker session.client=b") {
		t.Errorf("without a journal: %q", fallback.String())
	}
}

// TestFieldName: no attribute can pass for a field of the journal's own.
func TestFieldName(t *testing.T) {
	for in, want := range map[string]string{
		"client_id": "CLIENT_ID", "_UID": "UID", "__CURSOR": "CURSOR", "message": "FIELD_MESSAGE", "priority": "FIELD_PRIORITY",
		"": "FIELD_", "9": "FIELD_9", "ä b": "B", strings.Repeat("x", 100): strings.Repeat("X", 64),
	} {
		if got := fieldName(in); got != want {
			t.Errorf("%q = %q, want %q", in, got, want)
		}
	}
}

func TestDetect(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	t.Setenv("JOURNAL_STREAM", "")
	if got := detect(f); got != FormatJSON {
		t.Errorf("a file: %s", got)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", st.Dev, st.Ino))
	if got := detect(f); got != FormatJournal {
		t.Errorf("the journal's stream: %s", got)
	}
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", st.Dev, st.Ino+1))
	if got := detect(f); got != FormatJSON {
		t.Errorf("another process's stream: %s", got)
	}
	for _, format := range []string{FormatAuto, FormatText, FormatJSON, FormatJournal} {
		h, err := NewHandler(format, slog.LevelInfo, f)
		if err != nil || h.Enabled(t.Context(), slog.LevelDebug) || !h.Enabled(t.Context(), slog.LevelWarn) {
			t.Errorf("%s: %v", format, err)
		}
	}
	if _, err := NewHandler("xml", slog.LevelInfo, f); err == nil {
		t.Error("an unknown format was accepted")
	}
	h, err := NewHandler(FormatText, slog.LevelInfo, f)
	if err != nil {
		t.Fatal(err)
	}
	slog.New(h).Info("plain")
	b, err := os.ReadFile(f.Name())
	if err != nil || bytes.ContainsRune(b, '\x1b') || !strings.Contains(string(b), "plain") {
		t.Errorf("text into a file: %q %v", b, err)
	}
}

// TestNoFormatObeysAClient: whatever a client calls itself, a log line holds nothing that a terminal
// obeys, in no format and in no place of a record; and nothing of it is lost.
func TestNoFormatObeysAClient(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	const name = "\x1b[2J\u009b31m\x9b1m\r\x7f\u202ex" + ` \x1b[2J`
	for _, format := range []string{FormatText, FormatJSON} {
		out, err := os.Create(filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		h, err := NewHandler(format, slog.LevelInfo, out)
		if err != nil {
			t.Fatal(err)
		}
		hostileRecord(slog.New(h), name)
		b, err := os.ReadFile(out.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		checkLine(t, format, string(b))
	}
	var colours bytes.Buffer
	hostileRecord(slog.New(NewText(&colours, slog.LevelInfo, true)), name)
	own := colours.String()
	for _, c := range []string{faint, yellow, reset} {
		own = strings.ReplaceAll(own, c, "")
	}
	checkLine(t, "text in colours", own)
	j := NewJournal("gatehoused", slog.LevelInfo, func(m string, _ journal.Priority, fields map[string]string) error {
		for key, value := range fields {
			checkLine(t, "journal "+key, value+m+"\n")
		}
		return nil
	}, slog.DiscardHandler)
	hostileRecord(slog.New(j), name)
}

func hostileRecord(log *slog.Logger, name string) {
	log.With("given", name).WithGroup("g").Warn("client "+name, "id", name, "err", errors.New(name), "any", []string{name},
		slog.Group("in", "deep", name))
}

func checkLine(t *testing.T, where, line string) {
	t.Helper()
	text := strings.TrimSuffix(line, "\n")
	if i := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }); i >= 0 {
		t.Errorf("%s: a terminal obeys %q", where, text[i:])
	}
	if !strings.Contains(text, "[2J") || !strings.Contains(text, "202e") {
		t.Errorf("%s: a part of the name is lost: %q", where, text)
	}
}

func TestTextLine(t *testing.T) {
	var b bytes.Buffer
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	log := NewText(&b, slog.LevelInfo, false).WithAttrs([]slog.Attr{slog.Int("n", 1)}).WithGroup("g")
	r := slog.NewRecord(at, slog.LevelError, "it broke", 0)
	r.AddAttrs(slog.String("a", "x y"), slog.Any("err", errors.New("no=1")), slog.Group("h", "t", at, "empty", ""), slog.Attr{})
	if err := log.Handle(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	want := `03:04:05.006 ERR it broke n=1 g.a="x y" g.err="no=1" g.h.t=2026-01-02T03:04:05.006Z g.h.empty=""` + "\n"
	if b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	if log.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("debug lines are written at level info")
	}
}
