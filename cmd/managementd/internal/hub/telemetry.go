package hub

import "time"

// Telemetry is one device-to-cloud message.
type Telemetry struct {
	Seq        uint64            `json:"seq"` // rises by one with each message of the hub
	Device     string            `json:"device"`
	Module     string            `json:"module,omitempty"`
	Time       time.Time         `json:"time"`
	Properties map[string]string `json:"properties,omitempty"`
	Payload    []byte            `json:"payload"`
}

// telemetry keeps the last messages and counts all; guarded by Hub.mu.
type telemetry struct {
	kept  []Telemetry // oldest first
	keep  int
	total uint64
	count map[ID]uint64
	more  chan struct{} // closed and replaced at each message
}

func (t *telemetry) init(keep int) {
	t.keep, t.count, t.more = keep, map[ID]uint64{}, make(chan struct{})
}

func (t *telemetry) add(id ID, now time.Time, props map[string]string, payload []byte) {
	t.total++
	t.count[id]++
	if len(t.kept) >= t.keep {
		// Halving at once keeps the cost of forgetting constant per message.
		t.kept = append(t.kept[:0:0], t.kept[len(t.kept)/2:]...)
	}
	t.kept = append(t.kept, Telemetry{t.total, id.Device, id.Module, now, props, payload})
	close(t.more)
	t.more = make(chan struct{})
}

// TelemetrySince returns the kept messages with Seq above since, oldest first,
// at most limit (0: all), of one device or of all (device ""). The channel is
// closed when another message arrives.
func (h *Hub) TelemetrySince(since uint64, device string, limit int) ([]Telemetry, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Telemetry
	for _, m := range h.tele.kept {
		if m.Seq <= since || device != "" && m.Device != device {
			continue
		}
		if out = append(out, m); limit > 0 && len(out) == limit {
			break
		}
	}
	return out, h.tele.more
}

// Counts is the number of messages ever received: in all, and per identity.
func (h *Hub) Counts() (total uint64, per map[string]uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	per = make(map[string]uint64, len(h.tele.count))
	for id, n := range h.tele.count {
		per[id.String()] = n
	}
	return h.tele.total, per
}
