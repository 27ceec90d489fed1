package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// oldRecord commits a message, with its publisher, as the first release did.
func oldRecord(t *testing.T, s *Store, q message.StoredOutgoing, change func(value []byte) (publisher *op, _ []byte)) {
	t.Helper()
	if err := s.messages.commit(oldOps(t, s, q, change)); err != nil {
		t.Fatal(err)
	}
}

func oldOps(t *testing.T, s *Store, q message.StoredOutgoing, change func(value []byte) (publisher *op, _ []byte)) []op {
	t.Helper()
	id, who, err := s.people.intern(q.Message.Publisher)
	if err != nil {
		t.Fatal(err)
	}
	var w writer
	encodeMessage(&w, q.Message, id)
	w.str(q.Route)
	w.str(q.Topic)
	value := w.b
	if change != nil {
		var p *op
		if p, value = change(value); p != nil {
			who = *p
		}
	}
	key := string(binary.BigEndian.AppendUint64([]byte(nsOutbox), q.Seq))
	return []op{who, {put, key, value}}
}

// streamRecord commits a message under its stream, as the release before this one did.
func streamRecord(t *testing.T, s *Store, q message.StoredOutgoing, txn *[]op) {
	t.Helper()
	id, who, err := s.people.intern(q.Message.Publisher)
	if err != nil {
		t.Fatal(err)
	}
	var w writer
	encodeMessage(&w, q.Message, id)
	w.str(q.Route)
	w.str(q.Topic)
	value := binary.BigEndian.AppendUint64(w.b, uint64(q.Size))
	key := binary.BigEndian.AppendUint64(append([]byte(nsOutbox), q.Stream[:]...), q.Seq)
	sums := op{put, nsSums + string(q.Stream[:]), make([]byte, 48)}
	if _, err := s.messages.get(sums.key); err != nil {
		if err := s.messages.commit([]op{who, sums}); err != nil {
			t.Fatal(err)
		}
	}
	*txn = append(*txn, op{key: string(key), value: frame(string(key), value)}) // the head does not count it
}

// writeBeside commits what the head does not count.
func writeBeside(t *testing.T, s *Store, ops []op) {
	t.Helper()
	for some := range batches(ops) {
		txn := s.messages.db.NewTransaction(true)
		for _, o := range some {
			if err := txn.Set([]byte(o.key), o.value); err != nil {
				t.Fatal(err)
			}
		}
		if err := txn.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

func storedPayloads(t *testing.T, s *Store) (list []string) {
	t.Helper()
	err := s.Outbox().Load(func(q message.StoredOutgoing) error {
		list = append(list, fmt.Sprint(q.Seq, " ", string(q.Message.Payload)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A start on a full disk leaves old records where they are: their numbers are not given
// again, and if they were, the messages that have them by now are kept.
func TestOldRecordsLeftByAFullDiskReplaceNothing(t *testing.T) {
	var free atomic.Uint64
	free.Store(1 << 40)
	o := testOptions()
	o.MinFree = 100 << 20
	o.Free = func(string) (uint64, error) { return free.Load(), nil }
	dir := t.TempDir()
	s, stop := open(t, dir, o)
	for seq := uint64(1); seq <= 3; seq++ {
		oldRecord(t, s, outgoing("d", seq), nil)
	}
	stop()
	free.Store(99 << 20)
	s, stop = open(t, dir, o)
	last := uint64(0)
	err := s.Outbox().Streams(func(q message.StoredStream) error {
		if q.Count != 0 {
			t.Errorf("stored: %+v", q)
		}
		last = max(last, q.Last)
		return nil
	})
	if err != nil || last != 3 {
		t.Errorf("numbers up to %d are taken, want 3: %v", last, err)
	}
	free.Store(1 << 40)
	q := outgoing("d", 2)
	q.Message.Payload = []byte("acknowledged")
	wait(t, func(d func(error)) { s.Outbox().Append(q, d) })
	stop()
	s, _ = open(t, dir, o)
	if got := strings.Join(storedPayloads(t, s), ", "); got != "1 d 1, 2 acknowledged, 3 d 3, 4 d 2" {
		t.Errorf("stored: %s", got)
	}
}

// A publisher that would be encoded otherwise today is stored with the message that names it.
func TestAdoptionKeepsThePublisher(t *testing.T) {
	dir := t.TempDir()
	s, stop := open(t, dir, testOptions())
	oldRecord(t, s, outgoing("d", 1), func(value []byte) (*op, []byte) {
		_, who, _ := s.people.intern(testPublisher)
		other := personID{1, 2, 3}
		return &op{kind: put, key: other.key(), value: who.value}, append(other[:], value[len(other):]...)
	})
	stop()
	for range 2 {
		s, stop = open(t, dir, testOptions())
		if got := strings.Join(storedPayloads(t, s), ", "); got != "1 d 1" {
			t.Errorf("stored: %s", got)
		}
		stop()
	}
}

// One record that cannot be decoded stays, loudly, and stops neither the start nor the others.
func TestAdoptionPassesWhatItCannotRead(t *testing.T) {
	var log bytes.Buffer
	o := testOptions()
	dir := t.TempDir()
	s, stop := open(t, dir, o)
	oldRecord(t, s, outgoing("d", 1), nil)
	oldRecord(t, s, outgoing("d", 2), func(value []byte) (*op, []byte) { return nil, value[:30] })
	oldRecord(t, s, outgoing("d", 3), nil)
	stop()
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	s, _ = open(t, dir, o)
	if got := strings.Join(storedPayloads(t, s), ", "); got != "1 d 1, 3 d 3" {
		t.Errorf("stored: %s", got)
	}
	if !strings.Contains(log.String(), "messages=1") {
		t.Errorf("not said: %s", log.String())
	}
}

// Messages of both earlier layouts move into the log at the first start, each once, whatever
// interrupts it, and leave nothing behind.
func TestOutboxOfEarlierReleasesIsTakenOver(t *testing.T) {
	for _, layout := range []uint32{schemaFlat, schemaSums} {
		t.Run(fmt.Sprint("schema ", layout), func(t *testing.T) {
			dir := t.TempDir()
			s, stop := open(t, dir, testOptions())
			if err := s.messages.raise(layout); err != nil {
				t.Fatal(err)
			}
			const n = 4000 // more than one batch
			var flat, beside []op
			for seq := uint64(1); seq <= n; seq++ {
				if q := outgoing(fmt.Sprint("d", seq%3), seq); layout == schemaFlat {
					flat = append(flat, oldOps(t, s, q, nil)...)
				} else {
					streamRecord(t, s, q, &beside)
				}
			}
			for some := range batches(flat) {
				if err := s.messages.commit(some); err != nil {
					t.Fatal(err)
				}
			}
			writeBeside(t, s, beside)
			stop()
			o := testOptions()
			for k := 3; ; k *= 3 { // no disk space after so many looks at it
				left := k
				o.Free = func(string) (uint64, error) {
					if left--; left < 0 {
						return 60 << 20, nil
					}
					return 1 << 40, nil
				}
				o.MinFree = 100 << 20
				s, stop = open(t, dir, o)
				whole := s.leftBehind == 0
				if !whole && s.leftBehind != n {
					t.Errorf("numbers up to %d are left", s.leftBehind)
				}
				stop()
				if whole {
					break
				}
			}
			for range 2 {
				s, stop = open(t, dir, testOptions())
				if q := s.Quarantined(); len(q) > 0 {
					t.Fatalf("%+v", q)
				}
				streams := 0
				err := s.Outbox().Streams(func(q message.StoredStream) error {
					streams++
					list, err := s.Outbox().Next(q.ID, 0, q.Last, n, 1<<30)
					if len(list) != q.Count {
						t.Errorf("%d of %d messages", len(list), q.Count)
					}
					last := uint64(0)
					for _, m := range list {
						want := outgoing(fmt.Sprint("d", m.Seq%3), m.Seq)
						if m.Seq <= last || cmp.Diff(want, m, whereverSubjectsHold) != "" {
							t.Fatalf("after %d: %s", last, cmp.Diff(want, m, whereverSubjectsHold))
						}
						last = m.Seq
					}
					return err
				})
				if streams != 3 || err != nil {
					t.Errorf("%d streams, %v", streams, err)
				}
				if st := s.Stats(); st.Records != n || s.messages.records() != 0 || s.messages.head.schema != schemaLog {
					t.Errorf("%d records, %d of them beside the log, schema %d", st.Records, s.messages.records(), s.messages.head.schema)
				}
				stop()
			}
		})
	}
}

// A message that was stored in the log and not yet removed from messages/ is taken once.
func TestTakeoverThatWasKilledRepeatsNothing(t *testing.T) {
	dir := t.TempDir()
	s, stop := open(t, dir, testOptions())
	if err := s.messages.raise(schemaSums); err != nil {
		t.Fatal(err)
	}
	var beside []op
	for seq := uint64(1); seq <= 5; seq++ {
		q := outgoing("d", seq)
		streamRecord(t, s, q, &beside)
		if seq < 4 {
			wait(t, func(d func(error)) { s.Outbox().Append(q, d) })
		}
	}
	writeBeside(t, s, beside)
	stop()
	s, _ = open(t, dir, testOptions())
	if got := strings.Join(storedPayloads(t, s), ", "); got != "1 d 1, 2 d 2, 3 d 3, 4 d 4, 5 d 5" {
		t.Errorf("stored: %s", got)
	}
}
