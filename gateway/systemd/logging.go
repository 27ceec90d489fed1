package systemd

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/sys/unix"

	"github.com/gatehouse/gatehouse/gateway/printable"
)

// The log formats of the configuration.
const (
	FormatAuto    = "auto"
	FormatText    = "text"
	FormatJSON    = "json"
	FormatJournal = "journal"
)

// NewHandler returns the handler for format, writing to out (standard error
// of the process). auto is the journal's native protocol when out is the
// journal's stream, text when it is a terminal, and JSON otherwise. No format writes a character that
// a terminal would obey, except the colours of text.
func NewHandler(format string, level slog.Leveler, out *os.File) (slog.Handler, error) {
	if format == FormatAuto {
		format = detect(out)
	}
	switch format {
	case FormatJournal:
		fallback := NewText(out, level, false)
		return NewJournal(filepath.Base(os.Args[0]), level, journal.Send, fallback), nil
	case FormatText:
		return NewText(out, level, isTerminal(out) && os.Getenv("NO_COLOR") == ""), nil
	case FormatJSON:
		return slog.NewJSONHandler(printable.JSONTo(out), &slog.HandlerOptions{Level: level}), nil
	}
	return nil, fmt.Errorf("log format %q: want auto, text, json or journal", format)
}

func detect(out *os.File) string {
	switch {
	case isJournal(out):
		return FormatJournal
	case isTerminal(out):
		return FormatText
	}
	return FormatJSON
}

// isJournal reports whether out is connected to the journal: JOURNAL_STREAM must name the
// device and inode of out. Comparing them is necessary, because child processes inherit the
// variable although their standard error may go elsewhere (systemd.exec(5)).
func isJournal(out *os.File) bool {
	var dev, ino uint64
	if n, err := fmt.Sscanf(os.Getenv("JOURNAL_STREAM"), "%d:%d", &dev, &ino); n != 2 || err != nil {
		return false
	}
	var st unix.Stat_t
	return unix.Fstat(int(out.Fd()), &st) == nil && uint64(st.Dev) == dev && st.Ino == ino //nolint:unconvert // Dev is narrower on some ports
}

func isTerminal(out *os.File) bool {
	_, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS)
	return err == nil
}
