package seglog

import (
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
