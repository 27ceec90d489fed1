// Package memory gives back to the system what a start, a full synchronisation and many
// connects leave behind. It is a leaf.
package memory

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A start and a full synchronisation read a whole site, and ten thousand clients that
// connect leave garbage of their handshakes. Go's garbage collector sets its goal by the
// heap of that time: it lets as much garbage accumulate before it collects again, and
// returns pages to the system slowly. A gateway that is idle afterwards would keep twice
// the memory that it needs. Therefore one collection is forced as soon as little is
// allocated, and free memory is returned to the system.
//
// badger releases the buffers in which it has built tables only later, one every two seconds. After
// a million messages they are more than everything else together, and no later allocation would
// show that they are free. Therefore each forced collection is followed by one more.
const (
	trimEvery = 2 * time.Second
	quietRate = 512 << 10        // bytes allocated within trimEvery; with fewer, there is no traffic that a forced collection could delay
	worthTrim = 4 << 20          // bytes allocated since the last forced collection; with fewer, it would free too little
	trimAgain = 20 * time.Second // badger has released its eight buffers by then
)

// trimmer decides when to collect. Not for concurrent use.
type trimmer struct {
	last    uint64    // bytes ever allocated, when due was last called
	trimmed uint64    // bytes ever allocated, when due last returned true
	again   time.Time // when the last collection is followed by one more; zero: it has been
}

// due takes the time and the bytes that were ever allocated, and tells whether to collect now.
func (t *trimmer) due(now time.Time, allocated uint64) bool {
	quiet := allocated-t.last < quietRate
	t.last = allocated
	switch {
	case !quiet:
		return false
	case allocated-t.trimmed >= worthTrim:
		t.again = now.Add(trimAgain)
	case !t.again.IsZero() && !now.Before(t.again):
		t.again = time.Time{}
	default:
		return false
	}
	t.trimmed = allocated
	return true
}

// Trim runs until ctx ends.
func Trim(ctx context.Context) error {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	ticker := time.NewTicker(trimEvery)
	defer ticker.Stop()
	var t trimmer
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if metrics.Read(sample); t.due(time.Now(), sample[0].Value.Uint64()) {
			debug.FreeOSMemory()
		}
	}
}
