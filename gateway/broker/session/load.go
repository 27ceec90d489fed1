package session

import (
	"fmt"
	"slices"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// Load reads the sessions and their queues from the vault. A session without a
// known owner is deleted (B5), and so is a queued message without a publisher,
// because its right could not be decided. Everything loaded is decided again before
// any of it is sent. A session that was connected when the process ended counts as
// offline since now.
func (st *Store) Load(now time.Time, open func(*message.StoredSession) Rights, allow func(*Sub) bool) error {
	var found []message.StoredSession
	if err := st.c.Sessions.LoadSessions(func(r message.StoredSession) error {
		found = append(found, r)
		return nil
	}); err != nil {
		return fmt.Errorf("load sessions: %w", err)
	}
	for i := range found {
		if err := st.load(&found[i], now, open, allow); err != nil {
			return fmt.Errorf("load session of client %q: %w", found[i].ClientID, err)
		}
	}
	return nil
}

func (st *Store) load(r *message.StoredSession, now time.Time, open func(*message.StoredSession) Rights, allow func(*Sub) bool) error {
	if r.Principal == nil || r.Principal.Key == "" || r.Key != Key(r.Principal, r.ClientID) {
		st.c.Drop("session-without-owner")
		st.c.Sessions.DeleteSession(r.Key, nil)
		return nil
	}
	st.mu.Lock()
	s := st.create(r.Key, r.ClientID)
	st.mu.Unlock()
	s.belong(r.Principal)
	s.level, s.persistent, s.expiry = r.Version, true, r.Expiry
	if s.offline = r.DisconnectedAt; s.offline.IsZero() {
		s.offline = now // it was connected when the process ended
	}
	s.rights = open(r)
	s.shelf.away.Store(true)
	for _, m := range r.Subscriptions {
		if t, err := topic.SplitShared(m.Filter); err == nil {
			sub := NewSub(s, m, t)
			sub.Asked = true
			s.subs[m.Filter] = sub
			st.c.Index.Add(sub, nil)
		}
	}
	for _, id := range r.InboundQoS2 {
		s.inbound[id] = &Exchange{id: id, kept: true, answered: true}
	}
	var damaged []uint64
	err := st.c.Queues.LoadQueue(r.Key, func(q message.StoredDelivery) error {
		s.seq = max(s.seq, q.Seq)
		if q.Message == nil || q.Message.Publisher == nil { // could never be judged
			st.c.Drop("queued-without-publisher")
			damaged = append(damaged, q.Seq)
			return nil
		}
		e := &Entry{seq: q.Seq, size: uint32(sizeOf(q.Message)), body: bodyOf(q)}
		e.share = s.shareOf(e)
		s.queue.push(e)
		s.expires(e)
		if e.id != 0 {
			s.ids[e.id] = e
		}
		s.overdraw(int64(e.size)) // the limits may have been lowered
		s.shelve(e)
		return nil
	})
	if err != nil {
		return err
	}
	if len(damaged) > 0 {
		st.c.Queues.Dequeue(r.Key, damaged, nil)
	}
	slices.SortFunc(s.queue.list, bySeq)
	s.decide(now, allow)
	st.mu.Lock()
	st.enter(s)
	st.mu.Unlock()
	return nil
}

// shareOf finds the shared subscription for which a delivery was queued, which the
// vault does not store: the subscription that matches, if only one does and it is
// shared; else nil.
func (s *Session) shareOf(e *Entry) (share *Sub) {
	for _, sub := range s.subs {
		if sub.Private != e.private || !topic.Match(sub.Inner, e.m.Topic) {
			continue
		}
		if sub.Group == "" || share != nil {
			return nil
		}
		share = sub
	}
	return share
}
