package seglog

import (
	"testing"
)

// A log that is large because of its blobs and not of what was removed is not written anew again and again.
func TestShrinkingEnds(t *testing.T) {
	disk := testDisk()
	l, _ := openLog(t, disk, options())
	for n := uint64(1); n <= 800; n++ {
		id := BlobID{byte(n), byte(n >> 8)}
		put(t, l, &Record{Stream: Stream{1}, Number: n, Blob: id, Content: make([]byte, 600), Payload: make([]byte, 100)})
		if n%5 == 0 {
			if err := l.Tidy(); err != nil {
				t.Fatal(err)
			}
		}
	}
	asked := 0
	for range 200 {
		select {
		case <-l.Work():
			asked++
			if err := l.Tidy(); err != nil {
				t.Fatal(err)
			}
		default:
		}
	}
	if asked > 2 {
		t.Errorf("nothing was removed, and Tidy asked for more work %d times", asked)
	}
}
