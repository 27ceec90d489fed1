package audit

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/printable"
)

// writer writes records to the log and the files. It is used only by Run's goroutine.
type writer struct {
	o      *Options
	main   file
	own    file // of allowed connects
	failed bool // FileError knows of an error
}

// file is a file of JSON lines that rotates. It is open from the first record on.
type file struct {
	name    string
	maxSize int64
	keep    int
	file    *os.File
	buf     *bufio.Writer
	size    int64
	err     error // of the last attempt to write
}

func newWriter(o *Options) *writer {
	ext := filepath.Ext(o.File)
	own := strings.TrimSuffix(o.File, ext) + ".connects" + ext
	return &writer{
		o:    o,
		main: file{name: o.File, maxSize: o.MaxSize, keep: o.Keep},
		own:  file{name: own, maxSize: o.MaxSize / 4, keep: o.Keep},
	}
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
	f := &w.main
	if arrival(&r) {
		f = &w.own
	}
	f.did(f.append(&r))
	w.report()
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

func (f *file) append(r *message.AuditRecord) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	line = printable.JSON(line) // a terminal may show the file
	if f.file != nil && f.size+int64(len(line)) >= f.maxSize {
		if err := f.rotate(); err != nil {
			return err
		}
	}
	if f.file == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	n, err := f.buf.Write(append(line, '\n'))
	f.size += int64(n)
	return err
}

func (f *file) open() error {
	opened, err := os.OpenFile(f.name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := opened.Stat()
	if err != nil {
		_ = opened.Close()
		return err
	}
	f.file, f.buf, f.size = opened, bufio.NewWriter(opened), info.Size()
	return nil
}

// rotate renames FILE to FILE.1, FILE.1 to FILE.2 and so on, and removes the oldest.
func (f *file) rotate() error {
	if err := f.closeFile(); err != nil {
		return err
	}
	name := func(i int) string { return fmt.Sprintf("%s.%d", f.name, i) }
	for i := f.keep - 1; i >= 1; i-- {
		if err := os.Rename(name(i), name(i+1)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return os.Rename(f.name, name(1))
}

// idle is called about once a second and flushes the files' buffers, so that records reach the
// files even when few arrive.
func (w *writer) idle() {
	for _, f := range []*file{&w.main, &w.own} {
		if f.buf != nil && f.buf.Buffered() > 0 {
			f.did(f.buf.Flush())
		}
	}
	w.report()
}

func (f *file) closeFile() error {
	if f.file == nil {
		return nil
	}
	err := f.buf.Flush()
	if e := f.file.Sync(); err == nil {
		err = e
	}
	if e := f.file.Close(); err == nil {
		err = e
	}
	f.file, f.buf, f.size = nil, nil, 0
	return err
}

func (w *writer) close() {
	for _, f := range []*file{&w.main, &w.own} {
		f.did(f.closeFile())
	}
	w.report()
}

// did notes how an attempt to write went. A file that failed is opened again for the next record,
// because a bufio.Writer keeps its error.
func (f *file) did(err error) {
	f.err = err
	if err != nil && f.file != nil {
		_ = f.file.Close()
		f.file, f.buf = nil, nil
	}
}

// report calls FileError when the first of the files fails, and when none does any more.
func (w *writer) report() {
	err := cmp.Or(w.main.err, w.own.err)
	if (err != nil) == w.failed {
		return
	}
	w.failed = err != nil
	if w.o.FileError != nil {
		w.o.FileError(err)
	}
}
