package outbuf

import (
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// WaitCapacity waits until a message would be taken; false if there is no capacity in time.
// From the first call that finds the buffer full, publishers wait Config.Stall in all,
// and then not again until it has drained. One call waits at most for most; if most is
// 0 it does not wait, but Config.Stall begins to run all the same.
func (b *Buffer) WaitCapacity(most time.Duration) bool {
	end := time.Now().Add(most)
	for {
		b.mu.Lock()
		if b.closed || b.closing {
			b.mu.Unlock()
			return false
		}
		if b.ahead() < b.c.Limit {
			b.mu.Unlock()
			return true
		}
		now := time.Now()
		if b.stallEnd.IsZero() {
			b.stallEnd = now.Add(b.c.Stall)
		}
		left := min(b.stallEnd.Sub(now), end.Sub(now))
		if left <= 0 {
			b.mu.Unlock()
			return false
		}
		freed := b.freedChan()
		b.mu.Unlock()
		if !wait(freed, left) {
			return false
		}
	}
}

// WaitControl waits until the reserve for control frames is free again.
func (b *Buffer) WaitControl(d time.Duration) bool {
	end := time.Now().Add(d)
	for {
		b.mu.Lock()
		if b.closed || b.closing {
			b.mu.Unlock()
			return false
		}
		if b.ahead() <= b.c.Limit+b.c.Reserve {
			b.mu.Unlock()
			return true
		}
		freed := b.freedChan()
		b.mu.Unlock()
		if !wait(freed, time.Until(end)) {
			return false
		}
	}
}

// freedChan is closed when there is capacity again; b.mu is held.
func (b *Buffer) freedChan() chan struct{} {
	if b.freed == nil {
		b.freed = make(chan struct{})
	}
	return b.freed
}

func wait(c <-chan struct{}, d time.Duration) bool {
	if d <= 0 { // no time to wait, but c may be closed already
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-t.C:
		return false
	}
}

// Cut removes the frames whose message deny denies from what no writer has yet, and
// returns their owners in order. If the write in progress carries a message that deny
// denies, held is that write. deny runs with b.mu held.
func (b *Buffer) Cut(deny func(*message.Message, Owner) bool) (cut []Owner, held Write) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.busy.marks {
		if deny(m.m, m.owner) {
			held = b.writing
			break
		}
	}
	src, kept := b.pending.b, b.pending.marks[:0]
	w, r := 0, 0 // written and read so far; control frames between the marks stay
	for _, m := range b.pending.marks {
		w += copy(src[w:], src[r:m.from])
		r = m.to
		if deny(m.m, m.owner) {
			cut = append(cut, m.owner)
			continue
		}
		from := w
		w += copy(src[w:], src[m.from:m.to])
		kept = append(kept, mark{from, w, m.m, m.owner})
	}
	w += copy(src[w:], src[r:])
	clear(b.pending.marks[len(kept):])
	b.pending.b, b.pending.marks = src[:w], kept
	if len(cut) > 0 {
		b.aliases.cut()
	}
	return cut, held
}

// Carries tells whether there are messages that the kernel does not have yet.
func (b *Buffer) Carries() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.pending.marks)+len(b.busy.marks) > 0
}

// Write is a write in progress; nil is none.
type Write <-chan struct{}

// Await waits until this write is over, at most for d, and tells whether it is. It
// does not wait for later ones.
func (w Write) Await(d time.Duration) bool { return w == nil || wait(w, d) }

// Unsent is how many bytes the kernel does not have yet.
func (b *Buffer) Unsent() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ahead()
}

// Close appends last (which may be empty), lets the writer flush everything
// for at most d, and closes. It does not wait; see Done.
func (b *Buffer) Close(last []byte, d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.closing {
		return
	}
	if len(last) > 0 {
		b.ready()
		b.pending.b = append(b.pending.b, last...)
	}
	b.closing = true
	_ = b.dst.SetWriteDeadline(time.Now().Add(d))
	if !b.running {
		b.start()
	}
}

// Abort closes at once; what has not been given to the kernel is lost.
func (b *Buffer) Abort() { b.fail() }
