package store

import (
	"sync"
	"testing"
)

// BenchmarkOutboxAppend is what stands before an acknowledgement, with 100 messages under way: the group commit shares its syncs.
func BenchmarkOutboxAppend(b *testing.B) {
	s, _ := open(b, b.TempDir(), testOptions())
	window := make(chan struct{}, 100)
	var group sync.WaitGroup
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		window <- struct{}{}
		group.Add(1)
		m := testMessage(i, "a reading of some two hundred bytes, as they come from a thermostat")
		appendTo(s.Outbox(), i, "r", "t", m, func(err error) {
			if err != nil {
				b.Error(err)
			}
			<-window
			group.Done()
		})
	}
	group.Wait()
}
