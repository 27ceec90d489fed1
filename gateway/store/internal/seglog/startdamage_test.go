package seglog

import (
	"errors"
	"slices"
	"testing"
)

// A log that was never closed survives a damaged header of its first segment.
func TestDamagedFirstHeaderLosesNothing(t *testing.T) {
	for _, marked := range []bool{true, false} {
		disk := testDisk()
		o := options()
		o.Segment = 1 << 20
		l, _ := openLog(t, disk, o)
		for n := uint64(1); n <= 100; n++ {
			put(t, l, &Record{Stream: Stream{1}, Number: n, Payload: payloadOf(n, 200)})
		}
		name := segmentName(1)
		f := disk.names[name]
		f.now[9] ^= 1 // in the salt
		f.disk = slices.Clone(f.now)
		if !marked { // a log of an earlier release had no checkpoint yet
			if err := disk.Remove(checkpointName(1)); err != nil {
				t.Fatal(err)
			}
		}
		if err := disk.Sync(); err != nil {
			t.Fatal(err)
		}
		next := disk.after()
		l, report := openLog(t, next, o)
		if found := len(all(t, l, Stream{1})); marked && found != 100 {
			t.Errorf("%d of 100 are found, %+v", found, report)
		}
		if !slices.Contains(report.Damaged, name) || !slices.Contains(next.kept, name) {
			t.Errorf("with a checkpoint %v: the damage is not told or nothing is kept: %+v, kept %v", marked, report, next.kept)
		}
		if !marked && report.Unknown == 0 {
			t.Errorf("nothing is known to be lost: %+v", report)
		}
	}
}

// sickDisk fails to read a part of one file.
type sickDisk struct {
	*cutDisk
	name      string
	from, end int64
}

type sickFile struct {
	File
	d *sickDisk
}

func (d *sickDisk) Open(name string) (File, error) {
	f, err := d.cutDisk.Open(name)
	if err == nil && name == d.name {
		return sickFile{f, d}, nil
	}
	return f, err
}

func (f sickFile) ReadAt(b []byte, off int64) (int, error) {
	if off < f.d.end && off+int64(len(b)) > f.d.from {
		return 0, errors.New("input/output error")
	}
	return f.File.ReadAt(b, off)
}

// What cannot be read at one start is there at the next one that can read it: the file stays as it is. What was
// removed in the meantime stays removed.
func TestUnreadableFileIsLeftAlone(t *testing.T) {
	for _, from := range []int64{0, segmentHeader, 4096, 8192} {
		disk := testDisk()
		o := options()
		o.Segment = 1 << 20
		l, _ := openLog(t, disk, o)
		for n := uint64(1); n <= 100; n++ {
			put(t, l, &Record{Stream: Stream{1}, Number: n, Payload: payloadOf(n, 200)})
		}
		name := segmentName(1)
		sick := &sickDisk{cutDisk: disk.after(), name: name, from: from, end: 1 << 40}
		before := slices.Clone(sick.names[name].now)
		l, report := openLog(t, sick, o)
		if !slices.Contains(report.Damaged, name) || slices.Equal(all(t, l, Stream{1}), nil) && from > 4096 {
			t.Errorf("from %d on: %+v", from, report)
		}
		found := len(all(t, l, Stream{1}))
		for n := uint64(101); n <= 110; n++ {
			put(t, l, &Record{Stream: Stream{1}, Number: n, Payload: payloadOf(n, 200)})
		}
		want := 110
		if found > 0 {
			want--
			if err := l.Commit([]Op{{Stream: Stream{1}, Remove: []uint64{1}}}, true); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			if err := l.Tidy(); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if f := sick.names[name]; f == nil || !slices.Equal(f.now, before) {
			t.Errorf("from %d on: the file was changed", from)
		}
		for range 2 {
			l, report = openLog(t, sick.cutDisk, o)
			if got := len(all(t, l, Stream{1})); got != want || report.Lost+report.Unknown+len(report.Damaged) > 0 {
				t.Errorf("from %d on, a start that can read it: %d of %d, %+v", from, got, want, report)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The header of a segment tells of the one before it by number, and of no other one.
func TestHeaderTellsOfItsNeighbourOnly(t *testing.T) {
	disk := testDisk()
	l, _ := openLog(t, disk, options())
	var many []uint64
	for n := uint64(1); l.next < 9; n++ {
		size := 1000
		if l.next == 4 { // segment 3 gets many small ones
			size = 0
		}
		put(t, l, &Record{Stream: Stream{1}, Number: n, Payload: payloadOf(n, size)})
		if l.segments[len(l.segments)-1].segment == 3 {
			many = append(many, n)
		}
		if err := l.Tidy(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Commit([]Op{{Stream: Stream{1}, Remove: many}}, true); err != nil {
		t.Fatal(err)
	}
	if err := l.Tidy(); err != nil {
		t.Fatal(err)
	}
	if disk.names[segmentName(3)] != nil {
		t.Fatal("segment 3 is still there")
	}
	f := disk.names[segmentName(2)]
	f.now[len(f.now)-200] ^= 1 // its footer
	f.disk = slices.Clone(f.now)
	stored := l.Stats().Records
	l, report := openLog(t, disk.after(), options())
	if found := l.Stats().Records; found != stored || report.Lost > 0 {
		t.Errorf("%d of %d are found, %+v", found, stored, report)
	}
}
