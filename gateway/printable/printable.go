// Package printable writes what a stranger chose (a client id, a topic, an error of a peer) so that a
// terminal shows it and never obeys it. A terminal obeys the control characters: those below U+0020,
// DEL, and those from U+0080 to U+009F, of which U+009B begins an escape sequence by itself. Format
// characters, such as those that reverse the direction of text, change what a reader sees. All of these
// are written as escapes, so that nothing is lost either.
package printable

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Text is s on one line, with everything that is no printable character as Go would write it in a
// string: "\x1b", "\n", "\u202e". Bytes that are no UTF-8 count as such.
func Text(s string) string {
	if strings.IndexFunc(s, hidden) < 0 {
		return s
	}
	var b strings.Builder
	for s != "" {
		r, n := utf8.DecodeRuneInString(s)
		if hidden(r) {
			quoted := strconv.Quote(s[:n])
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// Lines is Text that keeps the line breaks of s.
func Lines(s string) string {
	if !strings.Contains(s, "\n") {
		return Text(s)
	}
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = Text(lines[i])
	}
	return strings.Join(lines, "\n")
}

// Value is s as the value of key=value: quoted if it would otherwise not be read as one word.
func Value(s string) string {
	if s == "" || strings.ContainsAny(s, ` ="\`) || strings.IndexFunc(s, hidden) >= 0 {
		return strconv.Quote(s)
	}
	return s
}

func hidden(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }

// JSON is a document of package encoding/json with the characters that are not printable written as
// \uXXXX. It is the same document to whoever reads it, because encoding/json leaves such characters
// in strings only, and escapes those below U+0020 itself.
func JSON(document []byte) []byte {
	begins := func(r rune) bool { return r > ' ' && hidden(r) }
	if strings.IndexFunc(string(document), begins) < 0 {
		return document
	}
	out := make([]byte, 0, len(document)+64)
	for _, r := range string(document) {
		switch {
		case !begins(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

// JSONTo returns a writer that passes each document on to w through JSON. A document must be written
// by one call, as json.Encoder and slog.JSONHandler do.
func JSONTo(w io.Writer) io.Writer { return jsonWriter{w} }

type jsonWriter struct{ w io.Writer }

// Write implements io.Writer.
func (j jsonWriter) Write(document []byte) (int, error) {
	if _, err := j.w.Write(JSON(document)); err != nil {
		return 0, err
	}
	return len(document), nil
}
