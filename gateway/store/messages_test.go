package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

func diffMessage(want, got *message.Message) string {
	w := *want
	p := *w.Publisher
	p.Credential, p.CredentialID = principal.NoCredential, ""
	p.Expires = got.Publisher.Expires
	w.Publisher = &p
	if !got.Publisher.Expires.IsZero() {
		return "the publisher's credential was kept"
	}
	return cmp.Diff(&w, got, whereverSubjectsHold)
}

func TestVaultKeepsEveryField(t *testing.T) {
	dir := t.TempDir()
	s, stop := open(t, dir, testOptions())
	v := s.Vault()
	session := filled[message.StoredSession]()
	first, second := filled[message.StoredDelivery](), filled[message.StoredDelivery]()
	first.Seq, second.Seq = 7, 300
	second.PacketID, second.Released = 0, false
	retained := filled[message.Message]()
	retained.Topic = "a/b\xff"
	bare := message.Message{Topic: "x", Publisher: testPublisher}

	session.InboundQoS2 = []uint16{1, 300, 65535}
	wait(t, func(d func(error)) { v.SaveSession(session, d) })
	for _, id := range []uint16{300, 7, 65535, 1} {
		v.Receive(session.Key, id, nil)
	}
	v.Receive("another", 2, nil)
	v.Release(session.Key, 7, nil)
	v.SaveSession(session, nil)
	will := filled[message.StoredWill]()
	v.SaveWill(message.StoredWill{ID: 1 << 40, Principal: testPublisher}, nil)
	v.SaveWill(will, nil)
	v.SaveWill(message.StoredWill{ID: will.ID + 1, Principal: testPublisher}, nil)
	v.DeleteWill(will.ID+1, nil)
	v.Enqueue(session.Key, second, nil)
	v.Enqueue(session.Key, first, nil)
	v.Retain(&retained, nil)
	v.Retain(&bare, nil)
	update := second
	update.Message, update.PacketID, update.Released = nil, 99, true
	wait(t, func(d func(error)) { v.Update(session.Key, update, d) })
	second.PacketID, second.Released = 99, true
	stop()

	s, _ = open(t, dir, testOptions())
	v = s.Vault()
	var sessions []message.StoredSession
	if err := v.LoadSessions(func(r message.StoredSession) error { sessions = append(sessions, r); return nil }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]message.StoredSession{session}, sessions, whereverSubjectsHold); d != "" {
		t.Errorf("session: %s", d)
	}
	var wills []message.StoredWill
	if err := v.LoadWills(func(w message.StoredWill) error { wills = append(wills, w); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(wills) != 2 || wills[1].ID != 1<<40 {
		t.Fatalf("wills: %+v", wills)
	}
	if d := cmp.Diff(will, wills[0], whereverSubjectsHold); d != "" {
		t.Errorf("will: %s", d)
	}
	var queue []message.StoredDelivery
	if err := v.LoadQueue(session.Key, func(q message.StoredDelivery) error { queue = append(queue, q); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(queue) != 2 {
		t.Fatalf("%d queued, want 2", len(queue))
	}
	for i, want := range []message.StoredDelivery{first, second} {
		if d := diffMessage(want.Message, queue[i].Message); d != "" {
			t.Errorf("queued %d: %s", i, d)
		}
		want.Message = queue[i].Message
		if d := cmp.Diff(want, queue[i], whereverSubjectsHold); d != "" {
			t.Errorf("queued %d: %s", i, d)
		}
	}
	kept := map[string]*message.Message{}
	if err := v.LoadRetained(func(m *message.Message) error { kept[m.Topic] = m; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(kept) != 2 {
		t.Fatalf("%d retained, want 2", len(kept))
	}
	for _, want := range []*message.Message{&retained, &bare} {
		if d := diffMessage(want, kept[want.Topic]); d != "" {
			t.Errorf("retained: %s", d)
		}
	}
}

func TestVaultRemoves(t *testing.T) {
	dir := t.TempDir()
	s, stop := open(t, dir, testOptions())
	v := s.Vault()
	for _, key := range []string{"one", "two"} {
		v.SaveSession(message.StoredSession{Key: key, Principal: testPublisher}, nil)
		for seq := uint64(1); seq <= 10; seq++ {
			v.Enqueue(key, message.StoredDelivery{Seq: seq, Message: testMessage(seq, "x"), QoS: 1, PacketID: 3}, nil)
		}
	}
	v.Receive("one", 1, nil)
	v.Receive("two", 1, nil)
	v.Receive("two", 2, nil)
	v.Release("two", 1, nil)
	v.Release("two", 9, nil)
	v.Retain(testMessage(1, "r"), nil)
	v.Unretain(testMessage(1, "r").Topic, nil)
	v.Dequeue("two", []uint64{1, 2, 5, 999}, nil)
	wait(t, func(d func(error)) { v.DeleteSession("one", d) })
	v.SaveSession(message.StoredSession{Key: "three", Principal: testPublisher}, nil)
	v.DeleteSession("three", nil)
	v.SaveSession(message.StoredSession{Key: "one", Principal: testPublisher}, nil) // again: it inherits nothing
	wait(t, func(d func(error)) { v.DeleteSession("never existed", d) })
	stop()
	s, _ = open(t, dir, testOptions())
	v = s.Vault()
	if got := seqs(t, v, "one"); got != nil {
		t.Errorf("queue of a deleted session: %v", got)
	}
	received := map[string][]uint16{}
	if err := v.LoadSessions(func(r message.StoredSession) error { received[r.Key] = r.InboundQoS2; return nil }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string][]uint16{"one": nil, "two": {2}}, received); d != "" {
		t.Errorf("received: %s", d)
	}
	if d := cmp.Diff([]uint64{3, 4, 6, 7, 8, 9, 10}, seqs(t, v, "two")); d != "" {
		t.Error(d)
	}
	if err := v.LoadRetained(func(*message.Message) error { return errors.New("still there") }); err != nil {
		t.Error(err)
	}
}

// A gateway that is updated has sessions whose records still name what they had received.
func TestReceivedIdsOfAnOlderRecordAreMoved(t *testing.T) {
	dir := t.TempDir()
	s, stop := open(t, dir, testOptions())
	old := sessionForm{message.StoredSession{Key: "old", InboundQoS2: []uint16{1, 300}}, principalOut(testPublisher)}
	text, err := json.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, func(d func(error)) {
		s.commit.submit(submission{ops: []op{{put, nsSession + hashed("old"), text}}, done: d})
	})
	s.Vault().Receive("old", 7, nil)
	stop()
	for _, want := range [][]uint16{{1, 7, 300}, {7, 300}} {
		s, stop = open(t, dir, testOptions())
		v := s.Vault()
		var got []uint16
		if err := v.LoadSessions(func(r message.StoredSession) error { got = r.InboundQoS2; return nil }); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("received: %s", d)
		}
		v.Release("old", 1, nil)
		stop()
	}
}

func seqs(t *testing.T, v *Vault, session string) (out []uint64) {
	t.Helper()
	if err := v.LoadQueue(session, func(q message.StoredDelivery) error { out = append(out, q.Seq); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDoneRunsInSubmissionOrderAlsoForRefusals(t *testing.T) {
	s, _ := open(t, t.TempDir(), testOptions())
	var mu sync.Mutex
	var got []int
	var refused int
	var wg sync.WaitGroup
	for i := range 2000 {
		wg.Add(1)
		value := []byte("v")
		if i%100 == 7 {
			value = make([]byte, MaxRecord+1)
		}
		s.Bucket("b").Put(fmt.Sprint(i), value, func(err error) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, i)
			if errors.Is(err, ErrTooLarge) {
				refused++
			}
			wg.Done()
		})
	}
	wg.Wait()
	for i, v := range got {
		if i != v {
			t.Fatalf("done %d ran at place %d", v, i)
		}
	}
	if refused != 20 {
		t.Errorf("%d refused as too large, want 20", refused)
	}
	if n := s.Stats().Commits; n >= 2000 {
		t.Errorf("%d commits for 2000 submissions: nothing was grouped", n)
	}
}

// Submissions that only remove are accepted however much waits: they free disk space, and
// nobody would submit them again.
func TestRemovalsAreNeverTooMany(t *testing.T) {
	s, err := Open(t.TempDir(), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	v := s.Vault()
	kept, failed := testMessage(1, "kept"), 0
	count := func(err error) {
		if err != nil {
			failed++
		}
	}
	run := func() { // commits what waits, in order, and ends
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.commit.run(ctx)
		s.commit.mu.Lock()
		s.commit.closed = false
		s.commit.mu.Unlock()
	}
	v.SaveSession(message.StoredSession{Key: "gone", Principal: testPublisher}, count)
	for _, session := range []string{"gone", "stays"} {
		v.Enqueue(session, message.StoredDelivery{Seq: 1, Message: kept, QoS: 1, PacketID: 3}, count)
	}
	v.Retain(kept, count)
	run()
	full := func(by int) {
		s.commit.mu.Lock()
		defer s.commit.mu.Unlock()
		s.commit.bytes += by
	}
	full(maxPending)
	var busy error
	v.Retain(testMessage(2, "refused"), func(err error) { busy = err })
	v.DeleteSession("gone", count)
	v.Dequeue("stays", []uint64{1}, count)
	v.Unretain(kept.Topic, count)
	full(-maxPending)
	run()
	if !errors.Is(busy, ErrBusy) {
		t.Errorf("a message above the limit: %v", busy)
	}
	if failed != 0 {
		t.Errorf("%d operations failed", failed)
	}
	if a, b := seqs(t, v, "gone"), seqs(t, v, "stays"); a != nil || b != nil {
		t.Errorf("still queued: %v, %v", a, b)
	}
	if err := v.LoadSessions(func(message.StoredSession) error { return errors.New("a session is still there") }); err != nil {
		t.Error(err)
	}
	if err := v.LoadRetained(func(*message.Message) error { return errors.New("still retained") }); err != nil {
		t.Error(err)
	}
}

func TestLargestMessageFits(t *testing.T) {
	dir := t.TempDir()
	s, stop := open(t, dir, testOptions())
	big := make([]byte, 1<<20)
	for i := range big {
		big[i] = byte(i * 7)
	}
	for i := range uint64(5) {
		m := testMessage(i, "")
		m.Payload = big
		wait(t, func(d func(error)) { appendTo(s.Outbox(), i, "r", "t", m, d) })
	}
	stop()
	s, _ = open(t, dir, testOptions())
	route, topic, m, err := readFrom(s.Outbox(), 3)
	if err != nil || route != "r" || topic != "t" || string(m.Payload) != string(big) {
		t.Errorf("read back %q %q, %v", route, topic, err)
	}
}

func TestBucket(t *testing.T) {
	s, _ := open(t, t.TempDir(), testOptions())
	a, b := s.Bucket("a"), s.Bucket("ab")
	a.Put("k1", []byte("1"), nil)
	a.Put("k2", nil, nil)
	b.Put("k1", []byte("other"), nil)
	wait(t, func(d func(error)) { a.Delete("gone", d) })
	got := map[string]string{}
	if err := a.Load(func(k string, v []byte) error { got[k] = string(v); return nil }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"k1": "1", "k2": ""}, got); d != "" {
		t.Error(d)
	}
	wait(t, func(d func(error)) { a.Delete("k1", d) })
	if _, err := a.Get("k1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted key: %v", err)
	}
	if v, err := b.Get("k1"); err != nil || string(v) != "other" {
		t.Errorf("neighbour bucket: %q, %v", v, err)
	}
}

func TestUnusedPublishersAreForgotten(t *testing.T) {
	dir := t.TempDir()
	s, stop := open(t, dir, testOptions())
	for i := range uint64(3) {
		m := testMessage(i, "x")
		m.Publisher = &principal.Principal{Key: fmt.Sprint("device:", i)}
		m.Topic = fmt.Sprint("t/", i)
		wait(t, func(d func(error)) { s.Vault().Retain(m, d) })
	}
	for _, topic := range []string{"t/0", "t/1"} {
		wait(t, func(d func(error)) { s.Vault().Unretain(topic, d) })
	}
	stop()
	s, _ = open(t, dir, testOptions())
	if n := s.Stats().Records; n != 2 {
		t.Errorf("%d records, want the message and its publisher", n)
	}
	err := s.Vault().LoadRetained(func(m *message.Message) error {
		if m.Publisher.Key != "device:2" {
			t.Errorf("published by %s", m.Publisher.Key)
		}
		return nil
	})
	if err != nil {
		t.Errorf("read: %v", err)
	}
}

func TestSubmitAfterTheEndIsRefused(t *testing.T) {
	s, stop := open(t, t.TempDir(), testOptions())
	stop()
	if err := outcomeOf(t, func(d func(error)) { s.Bucket("b").Put("k", nil, d) }); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

func FuzzDecodeMessage(f *testing.F) {
	var w writer
	m := filled[message.Message]()
	encodeMessage(&w, &m, personID{1})
	f.Add(w.b)
	f.Add(w.b[:len(w.b)/2])
	f.Add(append(make([]byte, 16), 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		who := func(personID) (*principal.Principal, error) { return testPublisher, nil }
		m, err := decodeMessage(&reader{b: b}, who)
		if err != nil {
			return
		}
		var w writer
		encodeMessage(&w, m, personID{})
		again, err := decodeMessage(&reader{b: w.b}, who)
		if err != nil {
			t.Fatalf("what was decoded does not encode: %v", err)
		}
		if d := cmp.Diff(m, again, whereverSubjectsHold); d != "" {
			t.Fatal(d)
		}
	})
}
