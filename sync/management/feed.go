package management

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// event says that an object changed, and at which path it was before and after. What the
// object looks like is read from the snapshot that answers.
type event struct {
	Number uint64         `json:"-"` // the key of its transaction
	Type   string         `json:"type"`
	ID     space.ID       `json:"id"`
	Before space.Path     `json:"before,omitzero"`
	After  space.Path     `json:"after,omitzero"`
	Who    model.Identity `json:"who,omitzero"` // of an assignment
	// History is model.Version.History after the transaction, on its first event only.
	History string `json:"history,omitempty"`
}

// ring is the tail of the feed, oldest event first. A cursor from floor on can
// be answered; below it, events have been forgotten. All snapshots share one
// array: the only writer appends behind the end of each of their slices.
type ring struct {
	events []event
	floor  uint64
	// histories are those of the versions from floor on: one for each cursor that can be
	// answered. It is "" for a change that a release without histories wrote.
	histories []string
}

// add appends one transaction and forgets the oldest whole ones beyond limit. One
// with more events than limit is forgotten itself: clients of the feed then read
// everything again, which is cheaper than so many changes.
func (r ring) add(log []event, v model.Version, limit int) (ring, []Op) {
	number := v.Number
	if len(log) > limit {
		return ring{floor: number, histories: []string{v.History}}, r.forget(len(r.events))
	}
	if len(log) > 0 {
		log[0].History = v.History
	}
	var ops []Op
	for part, rest := 0, log; len(rest) > 0; part++ {
		n := min(len(rest), eventsInRecord)
		ops = append(ops, Op{Key: feedKey(number, part), Value: encodeRow(rest[:n])})
		rest = rest[n:]
	}
	next := ring{events: append(r.events, log...), floor: r.floor, histories: append(r.histories, v.History)}
	drop := 0
	for len(next.events)-drop > limit {
		next.floor = next.events[drop].Number
		for drop < len(next.events) && next.events[drop].Number == next.floor {
			drop++
		}
	}
	ops = append(ops, next.forget(drop)...)
	next.events = next.events[drop:]
	next.histories = next.histories[next.floor-r.floor:]
	return next, ops
}

// history is that of the version with a number, from floor on; "": unknown.
func (r ring) history(number uint64) string {
	if i := number - r.floor; number >= r.floor && i < uint64(len(r.histories)) {
		return r.histories[i]
	}
	return ""
}

// remember finds the histories from floor to the version that a store holds.
func (r *ring) remember(floor string, now model.Version) {
	r.histories = make([]string, now.Number-min(r.floor, now.Number)+1)
	for _, e := range r.events {
		if i := e.Number - r.floor; e.History != "" && e.Number > r.floor && i < uint64(len(r.histories)) {
			r.histories[i] = e.History
		}
	}
	r.histories[0] = floor
	r.histories[len(r.histories)-1] = now.History
}

// forget removes the records of the first n events, which are those of whole transactions.
func (r ring) forget(n int) (ops []Op) {
	for i := 0; i < n; {
		first, number := i, r.events[i].Number
		for i < n && r.events[i].Number == number {
			i++
		}
		for part := range (i - first + eventsInRecord - 1) / eventsInRecord {
			ops = append(ops, Op{Key: feedKey(number, part)})
		}
	}
	return ops
}

// since finds the first event after a number.
func (r ring) since(number uint64) []event {
	i, _ := slices.BinarySearchFunc(r.events, number+1, func(e event, n uint64) int { return cmp.Compare(e.Number, n) })
	return r.events[i:]
}

// eventsInRecord bounds the size of a record: a store takes records of 1 MiB,
// and an event of the deepest tree has 4 KiB.
const eventsInRecord = 250

// feedKey names a record of a transaction's events. The first is named as in
// format 1, where it was the only one.
func feedKey(number uint64, part int) string {
	if part == 0 {
		return fmt.Sprintf("feed/%020d", number)
	}
	return fmt.Sprintf("feed/%020d/%d", number, part)
}

// feedRecord is one record of the feed, as it was read.
type feedRecord struct {
	number, part uint64
	events       []event
}

func parseFeedRecord(name string, value []byte) (r feedRecord, err error) {
	number, part, several := strings.Cut(name, "/")
	if r.number, err = strconv.ParseUint(number, 10, 64); err != nil {
		return r, err
	}
	if several {
		if r.part, err = strconv.ParseUint(part, 10, 64); err != nil {
			return r, err
		}
	}
	r.events, err = decodeEvents(r.number, value)
	return r, err
}

func decodeEvents(number uint64, value []byte) ([]event, error) {
	var log []event
	if err := json.Unmarshal(value, &log); err != nil {
		return nil, err
	}
	for i := range log {
		log[i].Number = number
	}
	return log, nil
}

// changes collects what differs for the view between the cursor and s. The error
// is a 410 when that cannot be told: the cursor is of another epoch or history or too
// old, or the caller's own rights changed since, so that it sees other objects now.
func (s *state) changes(v *view, since model.Version) (feed wire.Feed, err error) {
	if since.Epoch != s.version.Epoch || since.Number > s.version.Number || since.Number < s.feed.floor {
		return wire.Feed{}, gone()
	}
	if ours := s.feed.history(since.Number); ours != "" && since.History != "" && ours != since.History {
		return wire.Feed{}, rewritten()
	}
	feed = wire.Feed{
		Epoch:   since.Epoch,
		From:    since.Number,
		To:      s.version.Number,
		Changes: []wire.Change{},
		History: s.version.History,
	}
	type object struct {
		kind string
		id   space.ID
	}
	var order []object
	merged := map[object]*event{}
	for _, e := range s.feed.since(since.Number) {
		if e.Type == wire.TypeAssignment && slices.Contains(v.subject.Identities, e.Who) {
			return wire.Feed{}, gone()
		}
		o := object{e.Type, e.ID}
		if m, seen := merged[o]; seen {
			m.Number, m.After = e.Number, e.After
		} else {
			copied := e
			merged[o], order = &copied, append(order, o)
		}
	}
	for _, o := range order {
		e := merged[o]
		before, after := v.sees(e.Type, e.Before), v.sees(e.Type, e.After)
		c := wire.Change{Number: e.Number, Type: e.Type, ID: e.ID}
		switch {
		case before && after:
			c.Access, c.Object = model.Update.String(), s.object(v, e.Type, e.ID)
		case after:
			c.Access, c.Object = model.Create.String(), s.object(v, e.Type, e.ID)
		case before:
			c.Access = model.Delete.String()
		default:
			continue
		}
		feed.Changes = append(feed.Changes, c)
	}
	slices.SortStableFunc(feed.Changes, func(a, b wire.Change) int { return cmp.Compare(a.Number, b.Number) })
	return feed, nil
}
