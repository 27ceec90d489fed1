package printable

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
)

// hostile are strings that a terminal obeys, or shows as something else than they are.
var hostile = []string{
	"\x1b[2J\x1b]0;owned\a", "\u009b31m", "\x9b31m", "a\r\nb", "\x7f", "\u202eexe.txt", "\u2028", "\U000e0001", "\u00a0", "tab\t",
	"\xff\xfe", "\ufffd", "ok", "grün 温度", `plain \x1b`, "", "\U0001f600\u200d",
}

// obeyed is whether a terminal would obey or hide a part of text.
func obeyed(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }) >= 0 || !isUTF8(text)
}

func isUTF8(text string) bool { return strings.ToValidUTF8(text, "") == text }

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b[2J": `\x1b[2J`, "\u009b31m": `\u009b31m`, "\x9b31m": `\x9b31m`, "a\nb": `a\nb`, "grün": "grün", "\u202etxt": `\u202etxt`,
		`a "b"`: `a "b"`, "": "", "say \"\x1b\"": `say "\x1b"`,
	} {
		if got := Text(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
	if got := Lines("one\x1b\ntwo\r"); got != "one\\x1b\ntwo\\r" {
		t.Errorf("lines: %q", got)
	}
	for in, want := range map[string]string{
		"a": "a", "": `""`, "a b": `"a b"`, "a=b": `"a=b"`, "\x1b": `"\x1b"`, `\x1b`: `"\\x1b"`, `"`: `"\""`,
	} {
		if got := Value(in); got != want {
			t.Errorf("value %q is %s, want %s", in, got, want)
		}
	}
	for _, s := range hostile {
		for _, got := range []string{Text(s), Lines(s), Value(s)} {
			if obeyed(got) {
				t.Errorf("%q stays %q", s, got)
			}
		}
	}
}

// TestJSON: the document reads as before, and holds nothing that a terminal obeys.
func TestJSON(t *testing.T) {
	for _, s := range hostile {
		var b bytes.Buffer
		if err := json.NewEncoder(JSONTo(&b)).Encode(map[string]string{s: s}); err != nil {
			t.Fatal(err)
		}
		if obeyed(b.String()) {
			t.Errorf("%q stays %q", s, b.String())
		}
		var got map[string]string
		if err := json.Unmarshal(b.Bytes(), &got); err != nil {
			t.Fatalf("%q: %v", b.String(), err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); isUTF8(s) && got[want] != want {
			t.Errorf("%q reads as %q", s, got)
		}
	}
}
