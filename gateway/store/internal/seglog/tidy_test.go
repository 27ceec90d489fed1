package seglog

import (
	"errors"
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

// stuckDisk refuses some changes.
type stuckDisk struct {
	*cutDisk
	keeps  bool // no segment can be removed
	opened func(name string) error
}

func (d *stuckDisk) Remove(name string) error {
	if _, ok := numberIn(name, ".log"); ok && d.keeps {
		return errors.New("operation not permitted")
	}
	return d.cutDisk.Remove(name)
}

func (d *stuckDisk) Open(name string) (File, error) {
	if d.opened != nil {
		if err := d.opened(name); err != nil {
			return nil, err
		}
	}
	return d.cutDisk.Open(name)
}

// segmentOf fills one segment with the numbers from n on, and returns the number behind them.
func segmentOf(t *testing.T, l *Log, n uint64) uint64 {
	t.Helper()
	for from := l.next; l.next == from; n++ {
		put(t, l, &Record{Stream: Stream{1}, Number: n, Payload: payloadOf(n, 300)})
	}
	return n
}

func tidy(t *testing.T, l *Log) {
	t.Helper()
	if err := l.Tidy(); err != nil {
		t.Fatal(err)
	}
}

// What was removed does not come back because its file could not be deleted at once.
func TestRemovedStayRemovedWhileTheirFileStays(t *testing.T) {
	disk := &stuckDisk{cutDisk: testDisk()}
	l, _ := openLog(t, disk, options())
	n := uint64(0)
	for range 5 {
		n = segmentOf(t, l, n)
		tidy(t, l)
	}
	for i := range n {
		if err := l.Commit([]Op{{Stream: Stream{1}, Remove: []uint64{i}}}, true); err != nil {
			t.Fatal(err)
		}
	}
	disk.keeps = true
	if err := l.Tidy(); err == nil {
		t.Fatal("nothing was to be deleted")
	}
	first := n
	for range 3 {
		n = segmentOf(t, l, n)
		_ = l.Tidy() // it fails again
	}
	for _, tries := range []bool{false, true} {
		if tries {
			files := len(disk.names)
			disk.keeps = false
			tidy(t, l)
			if len(disk.names) >= files {
				t.Error("it is not tried again")
			}
		}
		if got := all(t, l, Stream{1}); len(got) == 0 || got[0] < first {
			t.Errorf("stored: %v", got)
		}
		if !tries {
			next := disk.after()
			disk = &stuckDisk{cutDisk: next}
			l, _ = openLog(t, disk, options())
		}
	}
}

// A footer that cannot be written does not keep the log from deleting what nobody needs any more.
func TestDeletingGoesOnWithoutFooters(t *testing.T) {
	disk := &stuckDisk{cutDisk: testDisk()}
	l, _ := openLog(t, disk, options())
	n := uint64(0)
	for range 5 {
		n = segmentOf(t, l, n)
		tidy(t, l)
	}
	n = segmentOf(t, l, n) // the one before waits for its footer
	for i := range n {
		if err := l.Commit([]Op{{Stream: Stream{1}, Remove: []uint64{i}}}, true); err != nil {
			t.Fatal(err)
		}
	}
	files := len(disk.names)
	waiting := segmentName(l.next - 2)
	disk.opened = func(name string) error {
		if name == waiting {
			return errFull
		}
		return nil
	}
	if err := l.Tidy(); !errors.Is(err, errFull) {
		t.Fatal("the footer was written:", err)
	}
	if len(disk.names) >= files {
		t.Errorf("of %d files, %d are left", files, len(disk.names))
	}
}
