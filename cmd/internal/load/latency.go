package load

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// shards keep many connections from waiting for one histogram; one for each
// connection would be 100 KB for each.
const shards = 8

// recorder collects latencies from many goroutines.
type recorder [shards]struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram // microseconds; nil until the first; guarded by mu
}

// record notes one latency, of the connection with that number.
func (r *recorder) record(conn int, nanos int64) {
	s := &r[conn%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.h == nil {
		s.h = hdrhistogram.New(1, int64(10*time.Minute/time.Microsecond), 3)
	}
	us := max(1, nanos/1000)
	if err := s.h.RecordValue(us); err != nil {
		_ = s.h.RecordValue(s.h.HighestTrackableValue()) // cannot fail: it is the bound itself
	}
}

// Latency is a distribution, in microseconds, with three significant digits.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean"`
	P50   int64   `json:"p50"`
	P90   int64   `json:"p90"`
	P99   int64   `json:"p99"`
	P999  int64   `json:"p999"`
	Max   int64   `json:"max"`
}

// latency is what was recorded; nil: nothing was.
func (r *recorder) latency() *Latency {
	var all *hdrhistogram.Histogram
	for i := range r {
		s := &r[i]
		s.mu.Lock()
		switch {
		case s.h == nil:
		case all == nil:
			all = hdrhistogram.Import(s.h.Export())
		default:
			all.Merge(s.h)
		}
		s.mu.Unlock()
	}
	if all == nil {
		return nil
	}
	return &Latency{
		Count: all.TotalCount(),
		Mean:  all.Mean(),
		P50:   all.ValueAtQuantile(50),
		P90:   all.ValueAtQuantile(90),
		P99:   all.ValueAtQuantile(99),
		P999:  all.ValueAtQuantile(99.9),
		Max:   all.Max(),
	}
}
