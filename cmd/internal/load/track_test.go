package load

import (
	"testing"

	"pgregory.net/rapid"
)

// TestTrackIsTheNaiveCount compares track with a map, over arrivals in any order with repetitions and gaps.
func TestTrackIsTheNaiveCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := rapid.Uint32Range(0, 40).Draw(t, "sent")
		var tr track
		tr.begin()
		seen := map[uint32]bool{}
		highest := -1
		for _, seq := range rapid.SliceOf(rapid.Uint32Range(0, max(1, sent)-1)).Draw(t, "arrivals") {
			if sent == 0 {
				break
			}
			want := inOrder
			switch {
			case seen[seq]:
				want = duplicated
			case int(seq) < highest:
				want = reordered
			}
			if got := tr.see(seq); got != want {
				t.Fatalf("%d is %d, want %d", seq, got, want)
			}
			seen[seq], highest = true, max(highest, int(seq))
		}
		lost := map[uint32]bool{}
		for _, s := range tr.lost(sent) {
			for seq := s.lo; seq < s.hi; seq++ {
				if lost[seq] {
					t.Fatalf("%d is lost twice: %v", seq, tr.lost(sent))
				}
				lost[seq] = true
			}
		}
		for seq := range sent {
			if lost[seq] == seen[seq] {
				t.Fatalf("%d: seen %v, lost %v", seq, seen[seq], lost[seq])
			}
		}
		if tr.unique != int64(len(seen)) {
			t.Fatalf("%d different numbers, want %d", tr.unique, len(seen))
		}
	})
}

// TestTrackFromTheMiddle: a receiver that joins late does not miss what was before it.
func TestTrackFromTheMiddle(t *testing.T) {
	var tr track
	for _, seq := range []uint32{7, 8, 10} {
		tr.see(seq)
	}
	if tr.gaps() != 1 || tr.see(9) != reordered || tr.gaps() != 0 {
		t.Errorf("%+v", tr)
	}
}
