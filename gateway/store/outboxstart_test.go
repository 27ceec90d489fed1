package store

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// While the clock is behind, what was just set aside sorts before what is there, and is kept.
func TestNewestQuarantineIsKeptWhateverTheClockSays(t *testing.T) {
	dir := t.TempDir()
	for _, at := range []string{"20250101T000000.000000000Z", "20250102T000000.000000000Z"} {
		if err := os.MkdirAll(filepath.Join(dir, "quarantine", "messages-"+at), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "messages"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "messages", "only-copy"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := testOptions().withDefaults()
	o.Now = func() time.Time { return time.Unix(100, 0) }
	q, err := moveAside(dir, "messages", "test", o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(q.MovedTo, "only-copy")); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "quarantine")); len(entries) != keepAside || err != nil {
		t.Errorf("%d are kept, %v", len(entries), err)
	}
}

// A record of an earlier layout that cannot be read does not keep the start from ending what was half parked.
func TestHalfParkedIsEndedBesideWhatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	s, stop := open(t, dir, testOptions())
	oldRecord(t, s, outgoing("d", 1), func(value []byte) (*op, []byte) { return nil, value[:30] })
	q := outgoing("d", 7)
	p := message.StoredParked{StoredOutgoing: q, At: testTime, Reason: "upstream hung up on it"}
	wait(t, func(d func(error)) { s.Outbox().Append(q, d) })
	wait(t, func(d func(error)) { s.Outbox().Park(p, d) })
	wait(t, func(d func(error)) { s.Outbox().Append(q, d) }) // as if the removal had not been written
	stop()
	s, _ = open(t, dir, testOptions())
	if s.leftBehind == 0 {
		t.Fatal("nothing is left behind")
	}
	parked := 0
	if err := s.Outbox().Parked(func(message.StoredParked) error { parked++; return nil }); err != nil {
		t.Fatal(err)
	}
	if waiting := storedPayloads(t, s); parked != 1 || len(waiting) > 0 {
		t.Errorf("%d are parked, and in the stream there are %v", parked, waiting)
	}
}

// The number of a message that has gone is not given to another one after a start.
func TestNumbersGoOnBehindWhatHasGone(t *testing.T) {
	for _, killed := range []bool{false, true} {
		dir := t.TempDir()
		s, stop := open(t, dir, testOptions())
		for seq := uint64(1); seq <= 8; seq++ {
			wait(t, func(d func(error)) { s.Outbox().Append(outgoing("d", seq), d) })
		}
		wait(t, func(d func(error)) { s.Outbox().Remove(outgoing("d", 1).Stream, []uint64{5, 6, 7, 8}, d) })
		if killed {
			copied := t.TempDir()
			copyBox(t, dir, copied)
			dir = copied
		}
		stop()
		s, _ = open(t, dir, testOptions())
		last := uint64(0)
		if err := s.Outbox().Streams(func(q message.StoredStream) error { last = max(last, q.Last); return nil }); err != nil {
			t.Fatal(err)
		}
		if last != 8 {
			t.Errorf("killed %v: numbers go on behind %d", killed, last)
		}
	}
}

// An outbox that is a symbolic link to a directory of another disk stays in use.
func TestLinkedOutboxStaysInUse(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	s, stop := open(t, dir, testOptions())
	wait(t, func(d func(error)) { s.Outbox().Append(outgoing("d", 1), d) })
	stop()
	copyBox(t, filepath.Join(dir, boxDir), elsewhere)
	if err := os.RemoveAll(filepath.Join(dir, boxDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, filepath.Join(dir, boxDir)); err != nil {
		t.Fatal(err)
	}
	s, _ = open(t, dir, testOptions())
	if got := storedPayloads(t, s); len(got) != 1 || len(s.Quarantined()) > 0 {
		t.Errorf("stored: %v, set aside: %+v", got, s.Quarantined())
	}
}
