package session

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The oracle is a plain slice of sequence numbers.
func TestQueueAgainstSlice(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var want []uint64
		var out []*Entry // popped, and may be put back
		next := uint64(0)
		for range rapid.IntRange(0, 300).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			default:
				next++
				q.push(&Entry{seq: next})
				want = append(want, next)
			case 1, 2, 3, 4:
				if q.len() == 0 {
					continue
				}
				out = append(out, q.front())
				q.pop()
				want = want[1:]
			case 5:
				for _, e := range out {
					want = append(want, e.seq)
				}
				slices.Sort(want)
				q.putBack(out)
				out = nil
			case 6:
				odd := func(n uint64) bool { return n%2 == 1 }
				q.filter(func(e *Entry) bool { return odd(e.seq) })
				want = slices.DeleteFunc(want, func(n uint64) bool { return !odd(n) })
			}
			var got []uint64
			for _, e := range q.each() {
				got = append(got, e.seq)
			}
			if !slices.Equal(got, want) || q.len() != len(want) {
				t.Fatalf("got %v, want %v", got, want)
			}
		}
	})
}

// Private topics are recognised by whole levels, whatever the case of $iothub.
func TestPrivate(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"$iothub/twin/res/#": true, "$IoTHub/methods/POST/#": true, "$iothub": true, "$iothubx/y": false, "a/$iothub": false,
		"deviceupdate/responses/7": true, "deviceupdate/responses": true, "deviceupdate/responsesx": false,
		"deviceupdate/devices/d/get": false, "deviceupdate": false, "#": false, "+/responses/#": false,
	} {
		if Private(text) != want {
			t.Errorf("Private(%q) = %v", text, !want)
		}
	}
}

// An Ack calls its function once, after the last Done, with the first code that is not success.
func TestAck(t *testing.T) {
	t.Parallel()
	var got []byte
	a := NewAck(func(code byte) { got = append(got, code) })
	a.Add()
	a.Add()
	a.Stored(nil)
	a.Done(0x97)
	if len(got) != 0 {
		t.Fatal("answered too early")
	}
	a.Done(0x83)
	if !slices.Equal(got, []byte{0x97}) {
		t.Errorf("answered %x", got)
	}
}
