package store

import (
	"testing"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// What is stored already is not written again: a client that takes its session from
// itself all day would fill memtable after memtable with one record.
func TestWhatIsStoredAlreadyIsNotWrittenAgain(t *testing.T) {
	s, stop := open(t, t.TempDir(), testOptions())
	defer stop()
	v := s.Vault()
	r := filled[message.StoredSession]()
	commits := func() uint64 {
		s.messages.mu.Lock()
		defer s.messages.mu.Unlock()
		return s.messages.head.seq
	}
	save := func() { wait(t, func(d func(error)) { v.SaveSession(r, d) }) }
	save()
	first := commits()
	for range 10 {
		save()
	}
	if n := commits() - first; n != 0 {
		t.Errorf("%d commits for a record that did not change", n)
	}
	r.Expiry++
	save()
	if commits() != first+1 {
		t.Error("a change was not written")
	}
	wait(t, func(d func(error)) { v.DeleteSession(r.Key, d) })
	save()
	found := 0
	if err := v.LoadSessions(func(message.StoredSession) error { found++; return nil }); err != nil || found != 1 {
		t.Errorf("%d sessions, %v: it was deleted and saved again", found, err)
	}
}
