package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// keepAside is how many directories below quarantine/ are kept of each store; older
// ones are deleted, so that they cannot fill the disk.
const keepAside = 2

// Quarantine is a store that was set aside.
type Quarantine struct {
	Store   string // "cache", "messages" or "outbox"
	MovedTo string // of the outbox: where copies of its damaged files are; "": none could be made
	Reason  string
	Time    time.Time
	// Salvaged is how many acknowledged outbox records were carried over, or are left.
	Salvaged int
}

// spec says how one directory is opened, and what is done if it is damaged.
type spec struct {
	name     string
	memTable int64 // bytes; bounds a transaction
	schema   uint32
	// setAside: a directory that fails its check is moved away and replaced by
	// an empty one; without it, the failure is an error.
	setAside bool
	// salvage says which records of a damaged directory are carried over into the new one.
	salvage func(key string) bool
}

// openBase opens parent/name. The returned Quarantine is nil when the directory was sound.
func openBase(parent string, sp spec, o Options) (*base, *Quarantine, error) {
	dir := filepath.Join(parent, sp.name)
	if err := makeDir(dir); err != nil {
		return nil, nil, err
	}
	if err := ensureFreeToOpen(parent, sp.name, o); err != nil {
		return nil, nil, err
	}
	mark := filepath.Join(parent, sp.name+".opening")
	attempt, crash := readMarker(mark)
	var q *Quarantine
	var saved []op
	if crash != "" {
		if !sp.setAside {
			return nil, nil, &Error{Op: "open", Path: dir, Err: ErrCorrupt,
				Hint: "the last start died in it (" + crash + "): restore a backup, or remove " + mark + " to try again"}
		}
		var err error
		if q, err = moveAside(parent, sp.name, "the last start died while opening it: "+crash, o); err != nil {
			return nil, nil, err
		}
		attempt = 0
	}
	m, err := setMarker(mark, attempt+1)
	if err != nil {
		return nil, nil, err
	}
	defer m.clear()
	discarded := false
	for {
		b, err := tryBase(parent, sp, o)
		if err == nil {
			if len(saved) > 0 {
				q.Salvaged = restore(b, saved)
			}
			return b, q, nil
		}
		if b != nil && errors.Is(err, ErrCorrupt) && sp.setAside && sp.salvage != nil && q == nil {
			saved = salvage(b, sp.salvage)
		}
		if b != nil {
			_ = b.close()
		}
		// If the new, empty directory fails as well, old data is not the cause, and
		// setting it aside would go on for ever.
		if !errors.Is(err, ErrCorrupt) || !sp.setAside || q != nil {
			return nil, q, &Error{Op: "open", Path: dir, Err: err}
		}
		if b != nil && !discarded && !b.witness.made && b.witness.get() == nil {
			// The witness was made before the first commit and has recorded none: the
			// first start was killed before it had finished, and there is nothing to keep.
			discarded = true
			if err := os.RemoveAll(dir); err != nil {
				return nil, nil, &Error{Op: "clear", Path: dir, Err: err}
			}
			continue
		}
		if q, err = moveAside(parent, sp.name, err.Error(), o); err != nil {
			return nil, nil, err
		}
	}
}

func tryBase(parent string, sp spec, o Options) (*base, error) {
	name := sp.name
	dir := filepath.Join(parent, name)
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	w, err := openSlots(filepath.Join(parent, name+".witness"))
	if err != nil {
		return nil, err
	}
	b := &base{
		name:     name,
		dir:      dir,
		memTable: sp.memTable,
		opt:      o,
		witness:  w,
		live:     map[uint64]summary{},
		seed:     maphash.MakeSeed(),
		schema:   sp.schema,
	}
	err = b.start()
	protect(dir)
	return b, err
}

func moveAside(parent, name, reason string, o Options) (*Quarantine, error) {
	aside := filepath.Join(parent, "quarantine")
	if err := makeDir(aside); err != nil {
		return nil, err
	}
	now := o.Now().UTC()
	to := asidePath(parent, name, now)
	if err := os.Rename(filepath.Join(parent, name), to); err != nil {
		return nil, &Error{Op: "set aside", Path: to, Err: err}
	}
	if err := os.Remove(filepath.Join(parent, name+".witness")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, &Error{Op: "set aside", Path: to, Err: err}
	}
	if err := syncDir(parent); err != nil {
		return nil, &Error{Op: "set aside", Path: to, Err: err}
	}
	prune(aside, name, to)
	o.Log.Error("a store was set aside", "store", name, "to", to, "reason", reason)
	return &Quarantine{Store: name, MovedTo: to, Reason: reason, Time: now}, nil
}

// asidePath is where something that is set aside now goes.
func asidePath(parent, name string, now time.Time) string {
	return filepath.Join(parent, "quarantine", name+"-"+now.Format("20060102T150405.000000000Z"))
}

// prune deletes all but the newest directories of a store. made is the one that was just made: while the
// clock is behind, its name is not the last one.
func prune(aside, name, made string) {
	entries, err := os.ReadDir(aside)
	if err != nil {
		return
	}
	var old []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), name+"-") && e.Name() != filepath.Base(made) {
			old = append(old, e.Name())
		}
	}
	slices.Sort(old)
	for len(old) > keepAside-1 {
		_ = os.RemoveAll(filepath.Join(aside, old[0]))
		old = old[1:]
	}
}

// salvage returns the records that verify and whose key want accepts, up to a bound.
// It ends at a block over which badger panics.
func salvage(b *base, want func(string) bool) []op {
	const limit = 64 << 20
	var ops []op
	n := 0
	if b.db == nil {
		return nil
	}
	_ = iterate(b.db, "", "", func(k, raw []byte) error {
		key := string(k)
		if !want(key) {
			return nil
		}
		value, err := unframe(key, raw)
		if err != nil {
			return nil //nolint:nilerr // one bad record says nothing about the next
		}
		o := op{kind: put, key: key, value: slices.Clone(value)}
		if n += o.size(); n > limit {
			return errEnough
		}
		ops = append(ops, o)
		return nil
	})
	return ops
}

func restore(b *base, ops []op) int {
	n := 0
	for batch := range batches(append(ops, strangers(ops)...)) {
		if err := b.commit(batch); err != nil {
			b.opt.Log.Error("salvaged records could not be written", "store", b.name, "err", err)
			return n
		}
		for _, o := range batch {
			if strings.HasPrefix(o.key, nsOutbox) {
				n++
			}
		}
	}
	return n
}

// strangers returns substitute publisher records for messages whose own publisher record
// was lost by the damage. The messages were authorised and acknowledged, so they must
// still be sent upstream, where only the device that they name matters.
func strangers(ops []op) []op {
	known := map[string]bool{}
	for _, o := range ops {
		if strings.HasPrefix(o.key, nsPrincipal) {
			known[o.key] = true
		}
	}
	var out []op
	for _, o := range ops {
		var id personID
		copy(id[:], o.value)
		if !strings.HasPrefix(o.key, nsOutbox) && !strings.HasPrefix(o.key, nsParked) || known[id.key()] {
			continue
		}
		known[id.key()] = true
		if b, err := json.Marshal(stranger(id)); err == nil {
			out = append(out, op{put, id.key(), b})
		}
	}
	return out
}

// stranger is the substitute for one publisher.
func stranger(id personID) principalForm {
	return principalForm{Key: fmt.Sprintf("lost:%x", id), Name: "lost when the store was repaired"}
}

// batches cuts ops into transactions.
func batches(ops []op) func(yield func([]op) bool) { return batchesOf(ops, batchCount, batchBytes) }

// batchesOf cuts ops into runs of at most count ops and at most so many bytes; an
// op that is larger by itself is a run of its own.
func batchesOf(ops []op, count, bytes int) func(yield func([]op) bool) {
	return func(yield func([]op) bool) {
		for len(ops) > 0 {
			n, size := 0, 0
			for n < len(ops) && n < count && (n == 0 || size+ops[n].size() <= bytes) {
				size += ops[n].size()
				n++
			}
			if !yield(ops[:n]) {
				return
			}
			ops = ops[n:]
		}
	}
}
