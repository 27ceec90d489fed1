package gateway

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A start reads a whole site, a full synchronisation reads it again, and ten
// thousand clients that connect leave their handshakes behind. The collector of
// Go takes that as the measure of the heap: it lets as much garbage come again
// before it collects, and gives pages back slowly. A gateway that has gone quiet
// would keep twice what it needs. So one collection is forced as soon as it is
// quiet, and what is free goes back to the system.
const (
	trimEvery = 2 * time.Second
	quietRate = 512 << 10 // bytes allocated within trimEvery: below, nobody is there whom a forced collection could delay
	worthTrim = 4 << 20   // bytes allocated since the last forced one: below, it would free too little
)

// trimmer decides when to collect. Not for concurrent use.
type trimmer struct {
	last    uint64 // bytes ever allocated, at the last look
	trimmed uint64 // the same, at the last collection that was forced
}

// due takes the bytes that were ever allocated and tells whether to collect now.
func (t *trimmer) due(allocated uint64) bool {
	quiet := allocated-t.last < quietRate
	t.last = allocated
	if !quiet || allocated-t.trimmed < worthTrim {
		return false
	}
	t.trimmed = allocated
	return true
}

// trimMemory runs until ctx ends.
func trimMemory(ctx context.Context) error {
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
		if metrics.Read(sample); t.due(sample[0].Value.Uint64()) {
			debug.FreeOSMemory()
		}
	}
}
