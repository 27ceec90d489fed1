package registry

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

type spy struct {
	next Creator
	got  *[]Sensor
}

func (s spy) CreateSensor(ctx context.Context, n Sensor) (string, int, error) {
	*s.got = append(*s.got, n)
	return s.next.CreateSensor(ctx, n)
}

func TestParseCreate(t *testing.T) {
	for text, want := range map[string]Attributes{
		"":   {},
		"{}": {},
		`{"type":"Temperature","dataType":"Number","port":"AI-1","pollRate":60}`: {Type: "Temperature", DataType: "Number", Port: "AI-1",
			PollRate: 60},
		`{"typeId":3,"dataTypeId":0}`:                     {TypeID: 3},
		`{"type":"` + strings.Repeat("ä", maxName) + `"}`: {Type: strings.Repeat("ä", maxName)},
		"{\"port\":\"\\u0041\"}":                          {Port: "A"},
	} {
		got, err := parseCreate([]byte(text))
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for name, text := range map[string]string{
		"no object": `[]`, "null": `null`, "text": `"x"`, "blank": ` `, "trailing": `{}{}`, "twice": `{"port":"a","port":"b"}`,
		"case": `{"Type":"x"}`, "unknown": `{"x":1}`, "place": `{"spaceId":"00000000-0000-4000-8000-000000000001"}`,
		"number as text": `{"type":3}`, "empty": `{"type":""}`, "null type": `{"type":null}`,
		"long":      `{"type":"` + strings.Repeat("x", maxName+1) + `"}`,
		"long port": `{"port":"` + strings.Repeat("x", maxPort+1) + `"}`, "control": `{"port":"a\u0001"}`, "NUL": `{"port":"a\u0000"}`,
		"negative": `{"pollRate":-1}`, "fraction": `{"pollRate":1.5}`, "huge": `{"pollRate":2147483648}`, "exponent": `{"pollRate":1e3}`,
		"both": `{"type":"x","typeId":1}`, "both data": `{"dataType":"x","dataTypeId":0}`, "deep": `{"type":{"x":1}}`,
		"not UTF-8": "{\"type\":\"\xff\"}", "large": `{"type":"x"}` + strings.Repeat(" ", maxPayload),
	} {
		if got, err := parseCreate([]byte(text)); !errors.Is(err, ErrRequest) || got != (Attributes{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestHardwareID(t *testing.T) {
	for _, id := range []string{"", "a/b", "a+", "#", "a\x00b", "\xff", strings.Repeat("x", maxHardwareID+1)} {
		if err := checkHardwareID(id); !errors.Is(err, ErrRequest) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if err := checkHardwareID(strings.Repeat("x", maxHardwareID)); err != nil {
		t.Error(err)
	}
}

// For any payload: there is no panic, the limits hold, and a payload that is accepted is JSON that
// a lenient parser reads in the same way.
func FuzzParseCreate(f *testing.F) {
	for _, s := range []string{"", "{}", `{"type":"T","dataTypeId":4,"port":"p","pollRate":1}`, `{"type":"a","type":"b"}`, `{"spaceId":"x"}`,
		`[[[[`, "{\"type\":\"\\ud800\"}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := parseCreate(text)
		if err != nil {
			if a != (Attributes{}) {
				t.Errorf("refused, but read: %+v", a)
			}
			return
		}
		if len(text) > maxPayload || len([]rune(a.Type)) > maxName || len([]rune(a.Port)) > maxPort || a.PollRate < 0 ||
			a.PollRate > math.MaxInt32 || a.TypeID < 0 {
			t.Errorf("out of bounds: %+v", a)
		}
		if len(text) == 0 {
			return
		}
		var plain Attributes
		if err := json.Unmarshal(text, &plain); err != nil || !reflect.DeepEqual(plain, a) {
			t.Errorf("%s reads as %+v here and %+v elsewhere (%v)", text, a, plain, err)
		}
	})
}
