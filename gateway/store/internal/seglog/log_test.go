package seglog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
)

func testDisk() *cutDisk { return newCutDisk(rand.New(rand.NewPCG(1, 1))) } //nolint:gosec // chance, not a secret

func openLog(t *testing.T, dir directory, o Options) (*Log, Report) {
	t.Helper()
	l, r, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return l, r
}

func put(t *testing.T, l *Log, r *Record) {
	t.Helper()
	if err := l.Commit([]Op{{Append: r}}, true); err != nil {
		t.Fatal(err)
	}
}

// all are the numbers that a stream has.
func all(t *testing.T, l *Log, id Stream) (list []uint64) {
	t.Helper()
	var buf Buffer
	records, err := l.Next(id, 0, ^uint64(0), 1<<20, 1<<40, &buf)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		list = append(list, r.Number)
	}
	return list
}

// What a device writes into its payload is no frame, even where damage has the log search for the next one.
// With the salt it would be.
func TestPayloadIsNoFrame(t *testing.T) {
	victim := Stream{9}
	for _, knowsSalt := range []bool{false, true} {
		disk := testDisk()
		l, _ := openLog(t, disk, options())
		salt := l.salt
		if !knowsSalt {
			salt[3] ^= 1
		}
		forged := appendRecord(nil, seedOf(salt, 1), 7, &Record{Stream: victim, Number: 5, Payload: []byte("forged")})
		put(t, l, &Record{Stream: Stream{1}, Number: 1, Payload: forged})
		put(t, l, &Record{Stream: Stream{1}, Number: 2, Payload: []byte("honest")})
		f := disk.names[segmentName(1)]
		f.now[segmentHeader+groupSize+8] ^= 1 // the checksum of the first record
		f.disk = slices.Clone(f.now)
		l, report := openLog(t, disk.after(), options())
		if got := all(t, l, victim); len(got) > 0 != knowsSalt {
			t.Errorf("with the salt %v: %v", knowsSalt, got)
		}
		if got := all(t, l, Stream{1}); !slices.Equal(got, []uint64{2}) || report.Lost == 0 {
			t.Errorf("found %v, %+v", got, report)
		}
	}
}

// Without syncs a cut takes what was acknowledged: so the tests with cuts can see a missing one.
func TestCutShowsAMissingSync(t *testing.T) {
	o := options()
	o.Unsynced = true
	for seed := range uint64(20) {
		disk := newCutDisk(rand.New(rand.NewPCG(seed, 1))) //nolint:gosec // chance, not a secret
		l, _ := openLog(t, disk, o)
		for n := range uint64(50) {
			put(t, l, &Record{Stream: Stream{1}, Number: n, Payload: payloadOf(n, 200)})
		}
		l, _ = openLog(t, disk.after(), options())
		if len(all(t, l, Stream{1})) < 50 {
			return
		}
	}
	t.Error("nothing is lost without a sync")
}

// On a full disk nothing is appended, and removals go on, in what was allocated and then behind it.
func TestRemovalsGoOnWhileTheDiskIsFull(t *testing.T) {
	disk := testDisk()
	l, _ := openLog(t, disk, options())
	n := uint64(0)
	for disk.full = false; ; n++ {
		err := l.Commit([]Op{{Append: &Record{Stream: Stream{1}, Number: n, Payload: []byte("some payload")}}}, true)
		if errors.Is(err, errFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		disk.full = n > 10
	}
	for i := range n {
		if err := l.Commit([]Op{{Stream: Stream{1}, Remove: []uint64{i}}}, true); err != nil {
			t.Fatalf("removal of %d of %d: %v", i, n, err)
		}
	}
	disk.full = false
	put(t, l, &Record{Stream: Stream{1}, Number: n, Payload: []byte("x")})
	l, report := openLog(t, disk.after(), options())
	if got := all(t, l, Stream{1}); !slices.Equal(got, []uint64{n}) || report.Lost+len(report.Damaged) > 0 {
		t.Errorf("stored %v, want %d: %+v", got, n, report)
	}
}

// countingDir counts what is read.
type countingDir struct {
	*Memory
	opens, reads atomic.Int64
}

type countingFile struct {
	File
	d *countingDir
}

func (d *countingDir) Open(name string) (File, error) {
	d.opens.Add(1)
	f, err := d.Memory.Open(name)
	return countingFile{f, d}, err
}

func (f countingFile) ReadAt(b []byte, off int64) (int, error) {
	f.d.reads.Add(1)
	return f.File.ReadAt(b, off)
}

// Ten thousand streams that wrote in turn are read by some records each, as the pump does. Each record
// costs a few reads, however many segments there are.
func TestManyStreamsAreDrainedWithFewReads(t *testing.T) {
	const streams, each = 10_000, 8
	id := func(i int) (s Stream) { binary.BigEndian.PutUint32(s[:], uint32(i)); return s }
	dir := &countingDir{Memory: NewMemory()}
	o := options()
	o.Segment, o.Cache = 1<<20, 12<<20
	l, _ := openLog(t, dir, o)
	payload := make([]byte, 100)
	number := uint64(0)
	for range each {
		var ops []Op
		for i := range streams {
			number++
			ops = append(ops, Op{Append: &Record{Stream: id(i), Number: number, Payload: payload}})
			if len(ops) == 1000 {
				if err := l.Commit(ops, true); err != nil {
					t.Fatal(err)
				}
				ops = nil
			}
		}
		if err := l.Tidy(); err != nil {
			t.Fatal(err)
		}
	}
	dir.reads.Store(0)
	dir.opens.Store(0)
	var buf Buffer
	read := 0
	for i := range streams {
		for from := uint64(0); ; {
			list, err := l.Next(id(i), from, ^uint64(0), 4, 1<<20, &buf)
			if err != nil {
				t.Fatal(err)
			}
			if len(list) == 0 {
				break
			}
			read += len(list)
			from = list[len(list)-1].Number + 1
			var numbers []uint64
			for _, r := range list {
				numbers = append(numbers, r.Number)
			}
			if err := l.Commit([]Op{{Stream: id(i), Remove: numbers}}, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	segments, reads, opens := l.Stats().Segments, float64(dir.reads.Load())/float64(read), float64(dir.opens.Load())/float64(read)
	t.Logf("%d records in %d segments: %.2f reads and %.4f opened files for each", read, segments, reads, opens)
	if read != streams*each || segments < 10 || reads > 1.5 || opens > 0.01 {
		t.Error("too many")
	}
	if err := l.Tidy(); err != nil {
		t.Fatal(err)
	}
	for range 4 { // two checkpoints later the segments are gone
		put(t, l, &Record{Stream: id(1), Number: number + 1, Payload: make([]byte, 1<<20)})
		number++
		if err := l.Tidy(); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.Stats().Segments; n > 6 {
		t.Errorf("%d segments are left of a log that was drained", n)
	}
}

// One slow stream does not keep the disk full of what others have sent.
func TestLogIsNotMuchLargerThanWhatIsStored(t *testing.T) {
	disk := testDisk()
	o := options()
	l, _ := openLog(t, disk, o)
	slow := 0
	for n := range uint64(3000) {
		stream := Stream{1}
		if n%50 == 0 {
			stream = Stream{2}
			slow++
		}
		put(t, l, &Record{Stream: stream, Number: n, Size: 100, Payload: payloadOf(n, 300)})
		if n > 100 {
			if err := l.Commit([]Op{{Stream: Stream{1}, Remove: []uint64{n - 100}}}, false); err != nil {
				t.Fatal(err)
			}
		}
		if n%10 == 0 {
			if err := l.Tidy(); err != nil {
				t.Fatal(err)
			}
		}
	}
	st := l.Stats()
	if limit := int64(st.Records)*450*2 + (slack+3)*o.Segment; st.Disk > limit {
		t.Errorf("%d bytes in %d segments for %d records, at most %d are wanted", st.Disk, st.Segments, st.Records, limit)
	}
	if got := all(t, l, Stream{2}); len(got) != slow {
		t.Errorf("%d of %d are left of the slow stream", len(got), slow)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, report := openLog(t, disk.after(), o)
	if got := all(t, l, Stream{2}); len(got) != slow || report.Lost > 0 || l.Stats().Records != st.Records {
		t.Errorf("after a start: %d of %d, %+v", len(got), slow, report)
	}
	t.Log(fmt.Sprint(st))
}

// A segment is deleted once the removals of its records are durable: otherwise a start after a power cut
// would miss records that it believes to be stored.
func TestDeletedSegmentsAreNotMissed(t *testing.T) {
	for seed := range uint64(30) {
		disk := newCutDisk(rand.New(rand.NewPCG(seed, 1))) //nolint:gosec // chance, not a secret
		l, _ := openLog(t, disk, options())
		n := uint64(0)
		for range 4 { // segments, each with a checkpoint
			for from := l.next; l.next == from; n++ {
				put(t, l, &Record{Stream: Stream{1}, Number: n, Payload: payloadOf(n, 300)})
			}
			if err := l.Tidy(); err != nil {
				t.Fatal(err)
			}
		}
		for i := range n {
			if err := l.Commit([]Op{{Stream: Stream{1}, Remove: []uint64{i}}}, false); err != nil {
				t.Fatal(err)
			}
		}
		files := len(disk.names)
		if err := l.Tidy(); err != nil {
			t.Fatal(err)
		}
		if len(disk.names) == files {
			t.Fatal("nothing was deleted")
		}
		if _, report := openLog(t, disk.after(), options()); report.Lost > 0 {
			t.Fatalf("seed %d: %+v", seed, report)
		}
	}
}
