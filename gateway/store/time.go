package store

import (
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/gateway/offline"
)

// clockRecord is the content of the file "clock", whose blocks are allocated beforehand:
// it can be written on a full disk.
type clockRecord struct {
	Mark   time.Time `json:"mark"`
	Resets uint64    `json:"resets,omitempty"`
	// Reset is where the mark was set to by the first reset since the stored generation
	// was taken. A generation of before the reset counts as no younger than that.
	Reset time.Time `json:"reset,omitzero"`
	// Confirmed is when, by the mark, the cloud last confirmed the generation of Version.
	Confirmed time.Time     `json:"confirmed,omitzero"`
	Version   model.Version `json:"version,omitzero"`
}

// readClock is the record as it was stored last; zero if none was.
func (c *Cache) readClock() (r clockRecord) {
	v := c.clock.get()
	if len(v) == 8 { // the mark alone, as releases before the record wrote it
		r.Mark = time.Unix(0, int64(binary.BigEndian.Uint64(v))).UTC()
		return r
	}
	if json.Unmarshal(v, &r) != nil {
		return clockRecord{}
	}
	return r
}

// HighWater is the mark as it was stored last; zero if none was.
func (c *Cache) HighWater() offline.Stamp {
	r := c.readClock()
	return offline.Stamp{Resets: r.Resets, Time: r.Mark}
}

// Taken is when the cloud stated or last confirmed the stored generation; zero if there is
// none.
func (c *Cache) Taken() offline.Stamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.head == nil {
		return offline.Stamp{}
	}
	return offline.Stamp{Resets: c.head.Resets, Time: c.taken()}
}

// taken is what the age of the generation counts from. c.mu is held, and there is a generation.
func (c *Cache) taken() time.Time {
	r, at := c.readClock(), c.head.Taken
	if c.head.Resets < r.Resets && at.After(r.Reset) {
		at = r.Reset
	}
	if r.Version == c.head.Version && r.Confirmed.After(at) {
		at = r.Confirmed
	}
	return at
}

// RaiseHighWater stores the mark (synced) if it is later than the stored one, and when the
// stored generation was confirmed; zero: never. A mark of before the last stored reset is
// ignored, whatever it says. It costs a sync of one sector.
func (c *Cache) RaiseHighWater(mark offline.Stamp, confirmed time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.readClock()
	next := was
	switch {
	case mark.Resets < was.Resets:
		return nil
	case mark.Resets > was.Resets:
		// If the generation is older than an earlier reset too, it stays as old as that said.
		next = clockRecord{Mark: mark.Time, Resets: mark.Resets, Reset: mark.Time}
		if c.head != nil && c.head.Resets < was.Resets && was.Reset.Before(mark.Time) {
			next.Reset = was.Reset
		}
	case mark.Time.After(was.Mark):
		next.Mark = mark.Time
	}
	if confirmed.After(mark.Time) {
		confirmed = mark.Time // noted before the mark was reset
	}
	if c.head != nil && !confirmed.IsZero() && (next.Version != c.head.Version || confirmed.After(next.Confirmed)) {
		next.Version, next.Confirmed = c.head.Version, confirmed
	}
	if next == was {
		return nil
	}
	b, err := json.Marshal(next)
	if err == nil {
		err = c.clock.put(b, true)
	}
	if err != nil {
		return &Error{Op: "store time", Path: c.dir, Err: err}
	}
	return nil
}
