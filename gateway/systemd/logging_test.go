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
