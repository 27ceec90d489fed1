package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// oldRecord commits a message, with its publisher, as an earlier release did.
func oldRecord(t *testing.T, s *Store, q message.StoredOutgoing, change func(value []byte) (publisher *op, _ []byte)) {
	t.Helper()
	who, value, err := s.Outbox().encode(&q)
	if err != nil {
		t.Fatal(err)
	}
	value = value[:len(value)-boxTail]
	if change != nil {
		var p *op
		if p, value = change(value); p != nil {
			who = *p
		}
	}
	key := string(binary.BigEndian.AppendUint64([]byte(nsOutbox), q.Seq))
	if err := s.messages.commit([]op{who, {put, key, value}}); err != nil {
		t.Fatal(err)
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
		who, _, _ := s.Outbox().encode(ptr(outgoing("d", 1)))
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

func ptr[T any](v T) *T { return &v }
