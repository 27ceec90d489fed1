package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/generation"
)

const (
	cacheHeadKey = "h"
	nsGeneration = "g"
)

// cacheHead names the generation that is in force. A record of any other
// generation is ignored, and removed later.
type cacheHead struct {
	Version  model.Version
	Taken    time.Time
	Resets   uint64 `json:",omitempty"` // of the clock, when Taken was read
	Number   uint64 // of the generation
	Count    uint64
	Digest   sum
	KeyCheck []byte
}

// Cache keeps one generation. A crash at any moment leaves the old or the new
// one. Writers are serialised; Load may run beside them.
type Cache struct {
	dir    string
	opt    Options
	sealer *sealer
	dirty  *slots
	level  atomic.Bool // set if the dirty mark could not be removed although the disk has everything
	clock  *slots

	mu    sync.Mutex
	base  *base        // guarded by mu
	head  *cacheHead   // guarded by mu; nil: empty
	aside []Quarantine // guarded by mu
}

func openCache(dir string, s *sealer, o Options) (_ *Cache, err error) {
	o.blockCache = 1 << 20 // small: the cache is read once, at start, and a delta reads only the records that it replaces
	c := &Cache{dir: dir, opt: o, sealer: s}
	defer func() {
		if err != nil {
			_ = c.close()
		}
	}()
	if c.dirty, err = openSlots(filepath.Join(dir, "dirty")); err != nil {
		return nil, err
	}
	if c.clock, err = openSlots(filepath.Join(dir, "clock")); err != nil {
		return nil, err
	}
	if err := c.openBase(); err != nil {
		return nil, err
	}
	if c.head != nil && !s.made(*c.head) {
		return nil, wrongKey(dir)
	}
	return c, nil
}

func wrongKey(dir string) error {
	return &Error{Op: "open", Path: filepath.Join(dir, "cache"), Err: ErrWrongKey,
		Hint: "restore the key, or move the directory away and let the gateway fetch everything again"}
}

// made tells whether this sealer's key is the one that the cache was sealed with.
func (s *sealer) made(h cacheHead) bool { return bytes.Equal(h.KeyCheck, s.check) }

func (c *Cache) openBase() error {
	b, q, err := openBase(c.dir, spec{name: "cache", memTable: memTable, setAside: true}, c.opt)
	if q != nil {
		c.aside = append(c.aside, *q)
	}
	if err != nil {
		return err
	}
	c.base, c.head = b, nil
	raw, err := b.get(cacheHeadKey)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	h := new(cacheHead)
	if err == nil {
		err = json.Unmarshal(raw, h)
	}
	if err != nil {
		return &Error{Op: "read head", Path: b.dir, Err: err}
	}
	c.head = h
	return nil
}

// WriteGeneration replaces the stored generation: it writes the new records in batches,
// then the head in one small synced transaction, and then removes the old records. It
// clears the dirty mark.
func (c *Cache) WriteGeneration(ctx context.Context, g generation.Full) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := cacheHead{Version: g.Version, Taken: g.Taken, Resets: g.Resets, Number: 1, KeyCheck: c.sealer.check}
	if c.head != nil {
		next.Number = c.head.Number + 1
	}
	if err := c.clearOthers(ctx); err != nil { // what an interrupted attempt left
		return err
	}
	var ops []op
	ordinal := map[string]uint16{}
	for _, it := range items(&g.Policy, &g.Registry) {
		id := recordID(it.kind, it.id, 0)
		n := ordinal[id]
		ordinal[id]++
		o, err := c.encode(next.Number, recordID(it.kind, it.id, n), it)
		if err != nil {
			return err
		}
		ops = append(ops, o)
		next.Count++
		next.Digest = next.Digest.plus(contentSum(o))
	}
	for batch := range batches(ops) {
		if err := ctx.Err(); err != nil {
			return &Error{Op: "write generation", Path: c.dir, Err: err}
		}
		if err := c.base.commit(batch); err != nil {
			return err
		}
	}
	if err := c.flip(next, nil); err != nil {
		return err
	}
	// The generation is in force already, so an error now would make the caller
	// believe that it is not. A dirty mark that stays only costs the next start
	// a full synchronisation.
	if err := c.ClearDirty(); err != nil {
		c.opt.Log.Error("the mark of a store that was behind stays", "err", err)
		c.level.Store(true)
	}
	if err := c.clearOthers(ctx); err != nil {
		c.opt.Log.Warn("records of the last generation stay for now", "err", err)
	}
	return nil
}

// WriteDelta applies d to the stored generation in one synced transaction.
// generation.ErrVersion: the stored version is not d.Policy.From;
// generation.ErrTooLarge: write a generation instead. Either way nothing has changed.
func (c *Cache) WriteDelta(ctx context.Context, d generation.Delta) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.head == nil || c.head.Version != d.Policy.From {
		return &Error{Op: "apply change", Path: c.dir, Hint: "a full sync is needed", Err: generation.ErrVersion}
	}
	if err := ctx.Err(); err != nil {
		return &Error{Op: "apply change", Path: c.dir, Err: err}
	}
	next := *c.head
	next.Version, next.Taken, next.Resets = d.Policy.To, d.Taken, d.Resets
	pending := map[string]op{} // by key: the last operation of this delta on it
	var ops []op
	drop := func(k kind, id space.ID) error {
		for n := uint16(0); ; n++ {
			key := c.key(next.Number, recordID(k, id, n))
			old, known := pending[key]
			if !known {
				value, err := c.base.get(key)
				if errors.Is(err, ErrNotFound) {
					return nil
				}
				if err != nil {
					return err
				}
				old = op{put, key, value}
			}
			if old.kind == remove {
				continue
			}
			next.Count--
			next.Digest = next.Digest.minus(contentSum(old))
			pending[key] = op{kind: remove, key: key}
			ops = append(ops, pending[key])
		}
	}
	for _, r := range removals(&d) {
		for _, id := range r.ids {
			if err := drop(r.kind, id); err != nil {
				return err
			}
		}
	}
	for _, it := range puts(&d) {
		if err := drop(it.kind, it.id); err != nil {
			return err
		}
		o, err := c.encode(next.Number, recordID(it.kind, it.id, 0), it)
		if err != nil {
			return err
		}
		next.Count++
		next.Digest = next.Digest.plus(contentSum(o))
		pending[o.key] = o
		ops = append(ops, o)
	}
	err := c.flip(next, ops)
	if errors.Is(err, ErrTooLarge) {
		return fmt.Errorf("%w: %w", generation.ErrTooLarge, err)
	}
	return err
}

func (c *Cache) flip(next cacheHead, ops []op) error {
	raw, err := json.Marshal(next)
	if err != nil {
		return &Error{Op: "encode head", Path: c.dir, Err: err}
	}
	if err := c.base.commit(append(ops, op{put, cacheHeadKey, raw})); err != nil {
		return err
	}
	c.head = &next
	return nil
}

// Load returns the stored generation, with its lists in order of id. Taken is when the cloud
// last confirmed it, as far as that is stored. ErrEmpty: there is none. ErrCorrupt: its
// records failed the check and were set aside; the cache is empty now.
func (c *Cache) Load(ctx context.Context) (generation.Full, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.head == nil {
		return generation.Full{}, &Error{Op: "load", Path: c.dir, Err: ErrEmpty}
	}
	g, err := c.read(ctx)
	if err == nil {
		return g, nil
	}
	if !errors.Is(err, ErrCorrupt) {
		return generation.Full{}, &Error{Op: "load", Path: c.dir, Err: err}
	}
	_ = c.base.close()
	q, qerr := moveAside(c.dir, "cache", err.Error(), c.opt)
	if qerr != nil {
		return generation.Full{}, qerr
	}
	c.aside = append(c.aside, *q)
	if oerr := c.openBase(); oerr != nil {
		return generation.Full{}, oerr
	}
	return generation.Full{}, &Error{Op: "load", Path: q.MovedTo, Err: err, Hint: "the cache was set aside; a full sync replaces it"}
}

func (c *Cache) read(ctx context.Context) (generation.Full, error) {
	g := generation.Full{Version: c.head.Version, Taken: c.taken(), Resets: c.head.Resets}
	g.Policy.Version = c.head.Version
	var count uint64
	var digest sum
	prefix := c.key(c.head.Number, "")
	err := c.base.scan(prefix, func(key string, value []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		id := key[len(prefix):]
		count++
		digest = digest.plus(contentSum(op{put, key, value}))
		k := kind(id[0])
		if k.sealed() {
			var err error
			if value, err = c.sealer.open(id, value); err != nil {
				return fmt.Errorf("%w: a sealed record does not open", ErrCorrupt)
			}
		}
		return decodeItem(k, value, &g.Policy, &g.Registry)
	})
	if err != nil {
		return generation.Full{}, err
	}
	if count != c.head.Count || digest != c.head.Digest {
		return generation.Full{}, fmt.Errorf("%w: %d records of generation %d, the head says %d (or their content differs)",
			ErrCorrupt, count, c.head.Number, c.head.Count)
	}
	return g, nil
}

// clearOthers removes the records of every generation but the head's.
func (c *Cache) clearOthers(ctx context.Context) error {
	keep := ""
	if c.head != nil {
		keep = c.key(c.head.Number, "")
	}
	var ops []op
	err := c.base.scan(nsGeneration, func(key string, _ []byte) error {
		if keep == "" || key[:len(keep)] != keep {
			ops = append(ops, op{kind: remove, key: key})
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	for batch := range batches(ops) {
		if err := c.base.commit(batch); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cache) encode(gen uint64, id string, it item) (op, error) {
	b, err := json.Marshal(it.form)
	if err != nil {
		return op{}, &Error{Op: "encode record", Path: c.dir, Err: err}
	}
	if it.kind.sealed() {
		b = c.sealer.seal(id, b)
	}
	return op{put, c.key(gen, id), b}, nil
}

const generationPrefix = len(nsGeneration) + 8

func (c *Cache) key(gen uint64, id string) string {
	return string(binary.BigEndian.AppendUint64([]byte(nsGeneration), gen)) + id
}

// recordID is the name of a record within its generation. The ordinal keeps records
// with the same id apart: the cache stores them all, and the registry refuses them.
func recordID(k kind, id space.ID, ordinal uint16) string {
	b := append([]byte{byte(k)}, id[:]...)
	return string(binary.BigEndian.AppendUint16(b, ordinal))
}

func contentSum(o op) sum { return sumOf(o.key[generationPrefix:], o.value) }
