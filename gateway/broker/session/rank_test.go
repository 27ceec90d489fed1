package session

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestRankingAgainstSort compares the ranking with an oracle that sorts all principals each time.
func TestRankingAgainstSort(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		st := NewStore(Config{TotalQueueBytes: 1 << 40})
		all := map[string]*holder{}
		next := 0
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch step := rapid.IntRange(0, 9).Draw(t, "step"); {
			case step < 2 || len(all) == 0:
				h := &holder{key: fmt.Sprint(next)}
				next++
				st.add(h, rapid.Int64Range(0, 9).Draw(t, "first"))
				all[h.key] = h
				st.rank.enter(h)
			case step == 2:
				key := rapid.SampledFrom(slices.Sorted(maps.Keys(all))).Draw(t, "leaves")
				st.rank.leave(all[key])
				delete(all, key)
			case step == 3:
				st.rank.begin(all)
			case step == 4:
				st.rank.end()
			default:
				h := all[rapid.SampledFrom(slices.Sorted(maps.Keys(all))).Draw(t, "changes")]
				st.add(h, rapid.Int64Range(-h.bytes.Load(), 9).Draw(t, "by"))
			}
			if !st.rank.on.Load() {
				if len(st.rank.all) > 0 {
					t.Fatal("it is off, and not empty")
				}
				continue
			}
			n, above := rapid.IntRange(1, 9).Draw(t, "n"), rapid.Int64Range(0, 9).Draw(t, "above")
			want := slices.DeleteFunc(slices.Collect(maps.Values(all)), func(h *holder) bool { return h.bytes.Load() <= above })
			slices.SortFunc(want, func(a, b *holder) int {
				return cmp.Or(cmp.Compare(b.bytes.Load(), a.bytes.Load()), cmp.Compare(a.key, b.key))
			})
			want = want[:min(n, len(want))]
			if got := st.rank.first(n, above); !slices.Equal(got, want) {
				t.Fatalf("%d and %d", len(got), len(want))
			}
		}
	})
}
