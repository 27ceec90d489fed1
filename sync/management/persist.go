package management

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// The keys of the store: "meta", "row/{type}/{id}" in the API's own JSON, and
// "feed/{number}" and, for more than eventsInRecord events, "feed/{number}/{1, 2, …}"
// with the events of one transaction.
const (
	metaKey   = "meta"
	rowPrefix = "row/"
	format    = 2 // 1: one record for all events of a transaction, which is read as well
)

type meta struct {
	Format int    `json:"format"`
	Epoch  uint64 `json:"epoch"`
	Number uint64 `json:"number"`
	Floor  uint64 `json:"floor"`
	// The histories of Number and Floor; "" in a store of a release without histories.
	History      string `json:"history,omitempty"`
	FloorHistory string `json:"floorHistory,omitempty"`
}

func metaOp(v model.Version, feed ring) Op {
	return Op{Key: metaKey, Value: encodeRow(meta{
		Format:       format,
		Epoch:        v.Epoch,
		Number:       v.Number,
		Floor:        feed.floor,
		History:      v.History,
		FloorHistory: feed.history(feed.floor),
	})}
}

func rowKey(kind string, id space.ID) string { return rowPrefix + kind + "/" + id.String() }

// newEpoch draws an epoch that no other store has. 53 bits, because readers
// of JSON may hold numbers as doubles.
func newEpoch() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return max(1, binary.BigEndian.Uint64(b[:])>>11)
}

// load reads the store into a state, without its policy.
func load(store Store) (s *state, found bool, err error) {
	s = newState(0)
	d := thaw(s.frozen)
	var m meta
	var feed []feedRecord
	err = store.Load(func(key string, value []byte) error {
		if name, ok := strings.CutPrefix(key, "feed/"); ok {
			r, err := parseFeedRecord(name, value)
			if err != nil {
				return fmt.Errorf("key %q: %w", key, err)
			}
			feed = append(feed, r)
			return nil
		}
		if err := loadPair(&d, &m, key, value); err != nil {
			return fmt.Errorf("key %q: %w", key, err)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, false, fmt.Errorf("%w: load: %w", ErrStore, err)
	case m.Format == 0 && len(feed)+countRows(&d) > 0:
		return nil, false, fmt.Errorf("%w: load: rows without %q: this is no complete store", ErrStore, metaKey)
	case m.Format > format:
		return nil, false, fmt.Errorf("%w: load: format %d is newer than this program's %d", ErrStore, m.Format, format)
	}
	s.frozen = freeze(&d)
	s.version = model.Version{Epoch: m.Epoch, Number: m.Number, History: m.History}
	s.feed.floor = m.Floor
	slices.SortFunc(feed, func(a, b feedRecord) int { return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.part, b.part)) })
	for _, r := range feed {
		s.feed.events = append(s.feed.events, r.events...)
	}
	s.feed.remember(m.FloorHistory, s.version)
	if err := s.findPaths(); err != nil {
		return nil, false, fmt.Errorf("%w: load: %w", ErrStore, err)
	}
	return s, m.Format != 0, nil
}

func countRows(d *draft) (n int) {
	for _, k := range kinds {
		n += k.count(d)
	}
	return n
}

func loadPair(d *draft, m *meta, key string, value []byte) error {
	if key == metaKey {
		return json.Unmarshal(value, m)
	}
	kind, text, ok := strings.Cut(strings.TrimPrefix(key, rowPrefix), "/")
	if !ok || !strings.HasPrefix(key, rowPrefix) {
		return fmt.Errorf("unknown key")
	}
	id, err := space.ParseID(text)
	if err != nil {
		return err
	}
	o, err := wire.ParseObject(value)
	if err != nil {
		return err
	}
	k, ok := kinds[kind]
	if !ok {
		return fmt.Errorf("unknown type %q", kind)
	}
	return k.load(d, id, value, o)
}

// encodeRow writes a row in the API's own JSON.
func encodeRow(v any) []byte {
	switch r := v.(type) {
	case *model.Assignment:
		v = wire.FromAssignment(*r)
	case *device.CA:
		v = wire.FromCA(*r)
	case *model.AzureAssignment:
		v = wire.FromAzureAssignment(*r)
	case *model.AzureRole:
		v = wire.FromAzureRole(*r)
	case *model.AzureDeny:
		v = wire.FromAzureDeny(*r)
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic("a row that cannot be written: " + err.Error()) // rows are our own structs: a bug
	}
	return b
}

// findPaths computes the path of every space from the parents.
func (s *state) findPaths() error {
	var walk func(id space.ID, depth int) (space.Path, error)
	walk = func(id space.ID, depth int) (space.Path, error) {
		if p, ok := s.paths[id]; ok {
			return p, nil
		}
		w, ok := s.spaces.get(id)
		if !ok {
			return space.Path{}, fmt.Errorf("space %s is missing", id)
		}
		if depth >= space.MaxDepth {
			return space.Path{}, fmt.Errorf("space %s: deeper than %d levels, or in a cycle", id, space.MaxDepth)
		}
		up := space.Root
		if !w.ParentSpaceID.IsZero() {
			var err error
			if up, err = walk(w.ParentSpaceID, depth+1); err != nil {
				return space.Path{}, err
			}
		}
		p := up.Join(id)
		s.paths[id] = p
		return p, nil
	}
	for id := range s.spaces.all() {
		if _, err := walk(id, 0); err != nil {
			return err
		}
	}
	return nil
}
