package audit

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// writer writes records to the file and the log. It is used only by Run's goroutine.
type writer struct {
	o      *Options
	file   *os.File
	buf    *bufio.Writer
	size   int64
	failed bool
}

func (w *writer) write(ctx context.Context, r message.AuditRecord) {
	if w.o.Logger != nil {
		level := slog.LevelInfo
		if !r.Allowed && r.Event != "audit" {
			level = slog.LevelWarn
		}
		w.o.Logger.LogAttrs(ctx, level, Sentence(&r), attrs(&r)...)
	}
	if w.o.File == "" {
		return
	}
	w.report(w.append(&r))
}

func attrs(r *message.AuditRecord) []slog.Attr {
	a := []slog.Attr{slog.String("event", r.Event), slog.Bool("allowed", r.Allowed)}
	for _, f := range []struct{ key, value string }{
		{"principal", r.Principal}, {"client_id", r.ClientID}, {"remote", r.Remote}, {"topic", r.Topic},
		{"reason", r.Reason}, {"detail", r.Detail}, {"version", r.Version},
	} {
		if f.value != "" {
			a = append(a, slog.String(f.key, f.value))
		}
	}
	if r.Count > 1 {
		a = append(a, slog.Uint64("count", r.Count))
	}
	return a
}

func (w *writer) append(r *message.AuditRecord) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if w.file != nil && w.size+int64(len(line)) >= w.o.MaxSize {
		if err := w.rotate(); err != nil {
			return err
		}
	}
	if w.file == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	n, err := w.buf.Write(append(line, '\n'))
	w.size += int64(n)
	return err
}

func (w *writer) open() error {
	f, err := os.OpenFile(w.o.File, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	w.file, w.buf, w.size = f, bufio.NewWriter(f), info.Size()
	return nil
}

// rotate renames FILE to FILE.1, FILE.1 to FILE.2 and so on, and removes the oldest.
func (w *writer) rotate() error {
	if err := w.closeFile(); err != nil {
		return err
	}
	name := func(i int) string { return fmt.Sprintf("%s.%d", w.o.File, i) }
	for i := w.o.Keep - 1; i >= 1; i-- {
		if err := os.Rename(name(i), name(i+1)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return os.Rename(w.o.File, name(1))
}

// idle is called about once a second and flushes the file's buffer, so that records reach the
// file even when few arrive.
func (w *writer) idle() {
	if w.buf != nil && w.buf.Buffered() > 0 {
		w.report(w.buf.Flush())
	}
}

func (w *writer) closeFile() error {
	if w.file == nil {
		return nil
	}
	err := w.buf.Flush()
	if e := w.file.Sync(); err == nil {
		err = e
	}
	if e := w.file.Close(); err == nil {
		err = e
	}
	w.file, w.buf, w.size = nil, nil, 0
	return err
}

func (w *writer) close() { w.report(w.closeFile()) }

// report calls FileError at the first failure and at the recovery. A file that failed is opened
// again for the next record, because a bufio.Writer keeps its error.
func (w *writer) report(err error) {
	if err != nil && w.file != nil {
		_ = w.file.Close()
		w.file, w.buf = nil, nil
	}
	if (err != nil) == w.failed {
		return
	}
	w.failed = err != nil
	if w.o.FileError != nil {
		w.o.FileError(err)
	}
}
