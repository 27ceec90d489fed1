package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// fewAtStart are options with which a start leaves more than ten outbox records to verify.
func fewAtStart() Options {
	o := testOptions()
	o.readAtStart = 10
	return o
}

// streamsOf is what Streams says.
func streamsOf(t *testing.T, s *Store) map[message.StreamID]message.StoredStream {
	t.Helper()
	list := map[message.StreamID]message.StoredStream{}
	if err := s.Outbox().Streams(func(q message.StoredStream) error { list[q.ID] = q; return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

// counted is the same, by reading everything.
func counted(t *testing.T, s *Store) map[message.StreamID]message.StoredStream {
	t.Helper()
	list := map[message.StreamID]message.StoredStream{}
	err := s.Outbox().Load(func(q message.StoredOutgoing) error {
		have := list[q.Stream]
		list[q.Stream] = message.StoredStream{
			ID:    q.Stream,
			Count: have.Count + 1,
			Bytes: have.Bytes + q.Size,
			Last:  q.Seq,
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// backlog stores n messages of three devices, and removes some.
func backlog(t *testing.T, s *Store, n uint64) {
	t.Helper()
	for seq := uint64(1); seq <= n; seq++ {
		q := outgoing(fmt.Sprint("d", seq%3), seq)
		q.Message.Payload = []byte(strings.Repeat("x", 3000) + fmt.Sprint(" ", seq))
		s.Outbox().Append(q, nil)
	}
	d0 := outgoing("d0", 0).Stream
	wait(t, func(d func(error)) { s.Outbox().Remove(d0, []uint64{3, 4, n / 3 * 3}, d) }) // 4 is another stream's
}

// A start with many messages knows what waits, takes and gives messages, and reads the rest
// beside that; only then compactors run.
func TestManyMessagesAreReadWhileEverythingRuns(t *testing.T) {
	dir := t.TempDir()
	s, stop := open(t, dir, testOptions())
	backlog(t, s, 300)
	want := counted(t, s)
	stop()
	s, err := Open(dir, fewAtStart())
	if err != nil {
		t.Fatal(err)
	}
	if !s.messages.isUnread() || s.Quiet() {
		t.Fatalf("unread %v, cramped %v", s.messages.isUnread(), s.Quiet())
	}
	if found, err := s.messages.box(); err != nil || found.commit != s.messages.head.seq || len(found.senders) > 0 {
		t.Errorf("the outbox was read by the start nevertheless: %v", err)
	}
	if got := streamsOf(t, s); !maps.Equal(got, want) {
		t.Errorf("summed up as %v, there is %v", got, want)
	}
	if n := s.Stats().Records; n != 299 {
		t.Errorf("%d records, want 298 messages and their publisher", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	wait(t, func(d func(error)) { s.Outbox().Append(outgoing("d1", 1000), d) })
	for s.messages.isUnread() {
		wait(t, func(d func(error)) { s.Outbox().Remove(message.StreamID{}, nil, d) })
	}
	if got, want := streamsOf(t, s), counted(t, s); !maps.Equal(got, want) {
		t.Errorf("summed up as %v, there is %v", got, want)
	}
	cancel()
	if err := errors.Join(<-ended, s.Close()); err != nil {
		t.Fatal(err)
	}
	if s.messages.quiet {
		t.Error("it still runs without compactors")
	}
}

// Damage that is found while everything runs ends the run, and the next start sets the
// store aside and carries over what can be read.
func TestDamageFoundLaterSetsTheStoreAsideAtTheNextStart(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, s *Store){
		"missing": func(t *testing.T, s *Store) {
			d1 := outgoing("d1", 0).Stream
			damageOutbox(t, s, outboxKey(d1, 7), nil)
		},
		"changed": func(t *testing.T, s *Store) {
			d1 := outgoing("d1", 0).Stream
			damageOutbox(t, s, outboxKey(d1, 7), []byte("something else"))
		},
		"more": func(t *testing.T, s *Store) {
			q := outgoing("d1", 8)
			_, value, err := s.Outbox().encode(&q)
			if err != nil {
				t.Fatal(err)
			}
			damageOutbox(t, s, outboxKey(q.Stream, 8), frame(outboxKey(q.Stream, 8), value))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, stop := open(t, dir, testOptions())
			backlog(t, s, 300)
			damage(t, s)
			stop()
			s, err := Open(dir, fewAtStart())
			if err != nil {
				t.Fatal(err)
			}
			if q := s.Quarantined(); len(q) > 0 {
				t.Fatalf("set aside at once: %+v", q)
			}
			if err := s.Run(context.Background()); !errors.Is(err, ErrCorrupt) {
				t.Errorf("the run ends with %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, stop = open(t, dir, fewAtStart())
			if q := s.Quarantined(); len(q) != 1 || q[0].Salvaged < 297 {
				t.Fatalf("%+v", q)
			}
			if got, want := streamsOf(t, s), counted(t, s); !maps.Equal(got, want) {
				t.Errorf("summed up as %v, there is %v", got, want)
			}
			stop()
			if _, err := os.Stat(s.messages.doubt); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the doubt stays: %v", err)
			}
		})
	}
}

// damageOutbox changes a record behind the back of the sums; nil removes it.
func damageOutbox(t *testing.T, s *Store, key string, raw []byte) {
	t.Helper()
	txn := s.messages.db.NewTransaction(true)
	defer txn.Discard()
	err := txn.Delete([]byte(key))
	if raw != nil {
		err = txn.Set([]byte(key), raw)
	}
	if err := errors.Join(err, txn.Commit()); err != nil {
		t.Fatal(err)
	}
}

// A directory of a release without sums gets them at its first start, and only once.
func TestDirectoryWithoutSumsGetsThem(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	s.messages.head.schema = schemaFlat
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	backlog(t, s, 300)
	want := counted(t, s)
	if len(s.messages.sums) > 0 || s.messages.head.count != 299 {
		t.Fatalf("%d sums, %d records", len(s.messages.sums), s.messages.head.count)
	}
	cancel()
	if err := errors.Join(<-ended, s.Close()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s, stop := open(t, dir, testOptions())
		if q := s.Quarantined(); len(q) > 0 {
			t.Fatalf("%+v", q)
		}
		if s.messages.head.schema != schemaSums || len(s.messages.sums) != 3 {
			t.Errorf("schema %d, %d sums", s.messages.head.schema, len(s.messages.sums))
		}
		if got := streamsOf(t, s); !maps.Equal(got, want) {
			t.Errorf("summed up as %v, there is %v", got, want)
		}
		stop()
	}
}
