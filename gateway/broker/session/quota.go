package session

import "github.com/gatehouse/gatehouse/gateway/message"

// sizeOf is what quotas count for a delivery, in bytes: the message, and what keeps it.
func sizeOf(m *message.Message) int64 {
	return m.Size() + 256
}

// Reserve takes quota for one more delivery of QoS 1 or 2; false if the queue of the
// session is full, or those of its principal or of all sessions together are.
func (s *Session) Reserve(m *message.Message) bool {
	size, q := sizeOf(m), &s.store.c
	if s.count.Add(1) > int64(q.QueueMessages) {
		s.count.Add(-1)
		return false
	}
	if s.bytes.Add(size) > int64(q.QueueBytes) {
		s.bytes.Add(-size)
		s.count.Add(-1)
		return false
	}
	if s.store.add(s.owner, size) > q.PrincipalBytes {
		s.store.add(s.owner, -size)
		s.bytes.Add(-size)
		s.count.Add(-1)
		return false
	}
	if s.store.queued.Add(size) > q.TotalQueueBytes {
		s.Release(m)
		return false
	}
	return true
}

// overdraw takes quota for a delivery of size bytes, even if that exceeds a limit.
func (s *Session) overdraw(size int64) {
	s.count.Add(1)
	s.bytes.Add(size)
	s.store.add(s.owner, size)
	s.store.queued.Add(size)
}

// overdrawn tells whether one of the limits of s is exceeded.
func (s *Session) overdrawn() bool {
	c := &s.store.c
	return s.count.Load() > int64(c.QueueMessages) || s.bytes.Load() > int64(c.QueueBytes) ||
		s.owner.bytes.Load() > c.PrincipalBytes || s.store.queued.Load() > c.TotalQueueBytes
}

// Release gives back what Reserve took.
func (s *Session) Release(m *message.Message) { s.release(sizeOf(m)) }

func (s *Session) release(size int64) {
	s.count.Add(-1)
	s.bytes.Add(-size)
	s.store.add(s.owner, -size)
	if s.store.queued.Add(-size)*2 < s.store.c.TotalQueueBytes && s.store.rank.on.Load() {
		s.store.rank.end()
	}
	s.ease(false)
}
