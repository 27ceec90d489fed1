package strictjson

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// wide is an object of as many keys as the default limits let pass.
func wide(t *testing.T, head string) Value {
	t.Helper()
	var b strings.Builder
	b.WriteByte('{')
	for i := range 16000 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"%s%05d":%d`, head, i, i)
	}
	b.WriteByte('}')
	v, err := Parse([]byte(b.String()), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A stranger chooses how many keys there are; what is done with them must not
// grow with their square. Done key by key, each of these takes seconds.
func TestWideObjectsAreCheap(t *testing.T) {
	a, b := wide(t, "a"), wide(t, "b")
	var names []string
	for _, m := range a.Members() {
		names = append(names, m.Name)
	}
	both, ok := Join(a, b)
	if !ok || len(both.Members()) != 32000 {
		t.Fatal("not joined")
	}
	for name, do := range map[string]func(){
		"Without": func() {
			if got := both.Without(names...); !Equal(got, b) {
				t.Error("left something else")
			}
		},
		"Join": func() { Join(a, b) },
		"Diff": func() {
			if d, _ := Diff(a, b); !Equal(Merge(a, d), b) {
				t.Error("leads elsewhere")
			}
		},
		"Merge": func() { Merge(a, b) },
	} {
		// A busy machine makes one call slow, a square makes all of them.
		var quickest time.Duration
		for try := range 10 {
			began := time.Now()
			do()
			if took := time.Since(began); try == 0 || took < quickest {
				quickest = took
			}
			if quickest < time.Second {
				break
			}
		}
		if quickest > time.Second {
			t.Errorf("%s took %s", name, quickest)
		}
	}
}
