package seglog

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
)

type key struct {
	stream Stream
	number uint64
}

// model is the naive log: what is stored, and what may or may not be.
type model struct {
	t       *testing.T
	rng     *rand.Rand
	disk    *cutDisk
	log     *Log
	stored  map[key][]byte
	perhaps map[key][]byte // a group with it failed, or its removal was not synced
	origins map[uint64]int // 1: there, 2: forgotten, not synced
	next    uint64
	cuts    int
	deleted int
}

func options() Options {
	return Options{Segment: 8 << 10, Cache: 4 << 10, Log: slog.New(slog.DiscardHandler)}
}

func payloadOf(number uint64, size int) []byte {
	return bytes.Repeat([]byte(fmt.Sprint(number, " ")), size/4+1)
}

func blobOf(b byte) (BlobID, []byte) {
	return BlobID{b}, bytes.Repeat([]byte{b}, 20+int(b))
}

func (m *model) group() (ops []Op, sync bool) {
	removes := m.rng.IntN(3) == 0
	live := slices.SortedFunc(maps.Keys(m.stored), func(a, b key) int { return order(a.number, b.number) })
	for range 1 + m.rng.IntN(8) {
		switch {
		case (removes || m.rng.IntN(3) == 0) && len(live) > 0:
			i := m.rng.IntN(min(len(live), 20))
			if m.rng.IntN(20) == 0 {
				i = m.rng.IntN(len(live))
			}
			if live[i].stream == (Stream{7}) && m.rng.IntN(30) > 0 { // a slow one
				continue
			}
			ops = append(ops, Op{Stream: live[i].stream, Remove: []uint64{live[i].number, m.next + 1000}})
			live = slices.Delete(live, i, i+1)
		case !removes:
			m.next++
			id, content := blobOf(byte(1 + m.rng.IntN(3)))
			r := &Record{Stream: Stream{byte(m.rng.IntN(8))}, Number: m.next, Size: uint32(m.rng.IntN(1000)), Blob: id, Content: content}
			r.Payload = payloadOf(m.next, m.rng.IntN(500))
			if m.rng.IntN(40) == 0 {
				r.Payload = payloadOf(m.next, 20<<10) // larger than a segment
			}
			if m.rng.IntN(20) == 0 {
				r.Origin = m.next
			}
			ops = append(ops, Op{Append: r})
			if m.rng.IntN(10) == 0 {
				ops = append(ops, Op{Stream: r.Stream, Remove: []uint64{r.Number}})
			}
		}
	}
	if o := slices.Sorted(slices.Values(m.log.Origins())); len(o) > 0 && m.rng.IntN(4) == 0 {
		ops = append(ops, Op{Forget: o[0]})
	}
	return ops, !removes || m.rng.IntN(2) == 0
}

func (m *model) commit() {
	ops, sync := m.group()
	err := m.log.Commit(ops, sync)
	if errors.Is(err, errFull) {
		return // nothing is in force
	}
	for _, o := range ops {
		if r := o.Append; r != nil {
			k := key{r.Stream, r.Number}
			if err == nil {
				m.stored[k] = r.Payload
			} else {
				m.perhaps[k] = r.Payload
			}
			if r.Origin != 0 {
				m.origins[r.Origin] = map[bool]int{true: 1, false: 2}[err == nil]
			}
		}
		for _, n := range o.Remove {
			k := key{o.Stream, n}
			if p, ok := m.stored[k]; ok {
				delete(m.stored, k)
				m.perhaps[k] = p
			}
		}
		if o.Forget != 0 {
			m.origins[o.Forget] = 2
		}
	}
	if err == nil && sync {
		clear(m.perhaps)
		maps.DeleteFunc(m.origins, func(_ uint64, v int) bool { return v == 2 })
	}
	if err != nil && !errors.Is(err, errCut) {
		m.t.Fatal(err)
	}
}

// check compares what is stored. After a start, start is set: what may or may not be there is then forgotten.
func (m *model) check(start bool) {
	m.t.Helper()
	want := map[Stream][]uint64{}
	sums, err := m.log.Streams()
	if err != nil {
		m.t.Fatal(err)
	}
	slices.SortFunc(sums, func(a, b Sum) int { return bytes.Compare(a.Stream[:], b.Stream[:]) }) // so that a seed does the same again
	have := map[key]bool{}
	var buf Buffer
	for _, sum := range sums {
		var bytesOf int64
		var last uint64
		n := 0
		for after := uint64(0); ; {
			list, err := m.log.Next(sum.Stream, after+1, ^uint64(0), 1+m.rng.IntN(10), 1<<uint(m.rng.IntN(16)), &buf)
			if err != nil {
				m.t.Fatal(err)
			}
			if len(list) == 0 {
				break
			}
			for _, r := range list {
				k := key{r.Stream, r.Number}
				p, ok := m.stored[k]
				if q, may := m.perhaps[k]; !ok && may && start {
					p, ok = q, true
					m.stored[k] = q
				}
				if !ok || r.Damaged || !bytes.Equal(p, r.Payload) || r.Number <= after {
					m.t.Fatalf("record %v: expected %v, damaged %v, after %d", k, ok, r.Damaged, after)
				}
				if b, err := m.log.Blob(&r); err != nil || !bytes.Equal(b, func() []byte { _, c := blobOf(r.Blob[0]); return c }()) {
					m.t.Fatalf("blob of %v: %v", k, err)
				}
				have[k] = true
				after, last = r.Number, r.Number
				bytesOf += int64(r.Size)
				n++
			}
		}
		if sum.Count != n || sum.Bytes != bytesOf || sum.Last != last || n == 0 {
			m.t.Fatalf("summed up as %+v, there are %d, %d bytes, last %d", sum, n, bytesOf, last)
		}
	}
	for k := range m.stored {
		if !have[k] {
			m.t.Fatalf("record %v is missing", k)
		}
		want[k.stream] = append(want[k.stream], k.number)
	}
	if st := m.log.Stats(); st.Records != len(m.stored) {
		m.t.Fatalf("%d records, want %d", st.Records, len(m.stored))
	}
	origins := m.log.Origins()
	for o, v := range m.origins {
		if v == 1 && !slices.Contains(origins, o) {
			m.t.Fatalf("origin %d is forgotten", o)
		}
	}
	for _, o := range origins {
		if m.origins[o] == 0 {
			m.t.Fatalf("origin %d is back", o)
		}
	}
	if start {
		clear(m.perhaps)
		clear(m.origins)
		for _, o := range origins {
			m.origins[o] = 1
		}
	}
}

func (m *model) open() {
	m.t.Helper()
	for {
		l, report, err := Open(m.disk, options())
		if errors.Is(err, errCut) {
			m.disk = m.disk.after()
			continue
		}
		if err != nil || report.Lost > 0 || len(report.Damaged) > 0 {
			m.t.Fatalf("open: %v, %+v", err, report)
		}
		m.log = l
		m.check(true)
		return
	}
}

func (m *model) step() {
	files := len(m.disk.names)
	switch n := m.rng.IntN(40); {
	case n < 28:
		m.commit()
	case n < 34:
		if err := m.log.Tidy(); err != nil && !errors.Is(err, errCut) && !errors.Is(err, errFull) {
			m.t.Fatal(err)
		}
	case n < 36 && m.disk.left < 0:
		m.disk.left = m.rng.IntN(60)
	case n < 37:
		m.disk.full = !m.disk.full
	case n < 38 && !m.disk.down:
		if err := m.log.Close(); err == nil {
			m.disk.full = false
			m.open()
		} else if !errors.Is(err, errCut) && !errors.Is(err, errFull) {
			m.t.Fatal(err)
		} else {
			m.disk = m.disk.after()
			m.open()
		}
	case !m.disk.down:
		m.check(false)
	}
	if m.disk.down {
		m.cuts++
		m.disk = m.disk.after()
		m.disk.left = -1
		if m.rng.IntN(3) == 0 { // cut again while it starts
			m.disk.left = m.rng.IntN(15)
		}
		m.open()
	}
	if len(m.disk.names) < files {
		m.deleted++
	}
}

// Against the naive model, with the power cut in place of any change of a file or a name.
func TestModel(t *testing.T) {
	seeds := 40
	if v, err := strconv.Atoi(os.Getenv("SEEDS")); err == nil {
		seeds = v
	}
	cuts, deleted := 0, 0
	for range seeds {
		seed := rand.Uint64()
		if v, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
			seed = v
		}
		rng := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // chance, not a secret
		ok := t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			m := &model{t: t, rng: rng, disk: newCutDisk(rng), stored: map[key][]byte{}, perhaps: map[key][]byte{}, origins: map[uint64]int{}}
			m.open()
			for range 600 {
				m.step()
			}
			cuts += m.cuts
			deleted += m.deleted
		})
		if !ok {
			return
		}
	}
	if cuts < seeds || deleted < seeds {
		t.Errorf("%d cuts, %d deletions: the test did not test", cuts, deleted)
	}
	t.Logf("%d cuts, %d deletions", cuts, deleted)
}
