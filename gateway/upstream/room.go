package upstream

import "time"

// storeRetry is how long a message waits that the storage refused for its disk:
// nothing tells the outbox when a disk has room again.
const storeRetry = time.Second

// rooms are the refusals after which nothing has left the outbox that would make
// room. It is guarded by Outbox.mu.
type rooms struct {
	// refused is, by publisher, the size of the smallest message that was refused
	// and would still not fit.
	refused map[string]int64
	// disk: the storage refused a message, less than storeRetry ago.
	disk bool
	// freed is closed when a message fits that was refused; nil: nobody has asked.
	freed chan struct{}
}

// Room returns a channel that is closed when a message fits that Offer refused
// with message.QuotaExceeded; it is closed already if none of those refusals
// stands any more. Whoever keeps a refused message calls Room after the refusal,
// waits, and offers the message again; a second refusal is possible, because room
// is given to whoever offers first.
//
// Room comes when the limits that refused the message (those of its device, or
// those of all) have the refused size free, and a sixty-fourth of the limit, so
// that publishers do not all offer again for each message that leaves. After a refusal by the
// storage (disk-full, store-busy) the channel is closed within storeRetry. A purge
// makes room as an acknowledgement does.
func (b *Outbox) Room() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.rooms.refused) == 0 && !b.rooms.disk {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	if b.rooms.freed == nil {
		b.rooms.freed = make(chan struct{})
	}
	return b.rooms.freed
}

// refuse remembers that a message of that size was refused for want of room.
func (b *Outbox) refuse(publish string, size int64) {
	if old, ok := b.rooms.refused[publish]; !ok || size < old {
		b.rooms.refused[publish] = size
	}
}

// refuseByStore remembers that the storage refused a message.
func (b *Outbox) refuseByStore() {
	if b.rooms.disk {
		return
	}
	b.rooms.disk = true
	time.AfterFunc(storeRetry, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.rooms.disk = false
		b.rooms.tell()
	})
}

// tell wakes all who wait for room.
func (r *rooms) tell() {
	if r.freed != nil {
		close(r.freed)
		r.freed = nil
	}
}

// released looks for refused messages that fit, after one has left.
func (b *Outbox) released() {
	if len(b.rooms.refused) == 0 {
		return
	}
	l := &b.opt.Limits
	if !roomy(&b.total, 0, l.Bytes, l.Messages) {
		return
	}
	found := false
	for p, size := range b.rooms.refused {
		if roomy(b.use[p], size, l.DeviceBytes, l.DeviceMessages) && roomy(&b.total, size, l.Bytes, l.Messages) {
			delete(b.rooms.refused, p)
			found = true
		}
	}
	if found {
		b.rooms.tell()
	}
}

// roomy tells whether a message of that size fits with a sixty-fourth of the limits to spare.
func roomy(u *usage, size, bytes int64, messages int) bool {
	if u == nil {
		return true
	}
	return (bytes == 0 || u.bytes+max(size, min(bytes/64, bytes-size)) <= bytes) &&
		(messages == 0 || u.messages+max(1, messages/64) <= messages)
}
