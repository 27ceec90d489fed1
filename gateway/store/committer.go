package store

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// maxPending bounds the submissions that wait for the next commits, in bytes. Those
// that only remove do not count: no caller would submit a refused removal again, a
// removal is small, and there are no more of them than there are records.
const maxPending = 64 << 20

// submission is a set of operations that are committed together.
type submission struct {
	ops []op
	// below, if not "", is a prefix: everything stored under it is removed
	// first, in transactions of its own.
	below string
	size  int
	err   error // if set, the submission was refused; it is only queued so that done runs in order
	done  func(error)
}

// committer is the group committer: while one sync runs the next batch
// gathers, so that clients share syncs instead of queueing for them.
type committer struct {
	base *base
	wake chan struct{}

	mu     sync.Mutex
	queue  []submission // guarded by mu
	bytes  int          // guarded by mu
	closed bool         // guarded by mu

	commits, failures atomic.Uint64
}

func newCommitter(b *base) *committer {
	return &committer{base: b, wake: make(chan struct{}, 1)}
}

// submit never blocks.
func (c *committer) submit(s submission) {
	for i := range s.ops {
		s.size += s.ops[i].size()
		if len(s.ops[i].value) > MaxRecord {
			s.err = &Error{Op: "commit", Path: c.base.dir, Err: ErrTooLarge}
		}
	}
	if len(s.ops) > batchCount || s.size > batchBytes {
		s.err = &Error{Op: "commit", Path: c.base.dir, Err: ErrTooLarge}
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		if s.done != nil {
			go s.done(&Error{Op: "commit", Path: c.base.dir, Err: ErrClosed})
		}
		return
	}
	if s.err == nil && c.bytes+s.size > maxPending && !onlyRemoves(s.ops) {
		s.err = &Error{Op: "commit", Path: c.base.dir, Err: ErrBusy}
	}
	if s.err != nil {
		s.ops, s.below, s.size = nil, "", 0
	}
	c.bytes += s.size
	c.queue = append(c.queue, s)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

type outcome struct {
	done func(error)
	err  error
}

// run commits until ctx ends, then commits what was submitted before that, and returns
// after the last done function.
func (c *committer) run(ctx context.Context) {
	outcomes := make(chan []outcome, 16) // if it is full because a done function is slow, the committer waits
	var behind sync.WaitGroup
	behind.Go(func() {
		for batch := range outcomes {
			for _, o := range batch {
				if o.done != nil {
					o.done(o.err)
				}
			}
		}
	})
	for {
		batch := c.take(ctx.Err() != nil)
		if batch == nil {
			if ctx.Err() != nil {
				break
			}
			select {
			case <-c.wake:
			case <-ctx.Done():
			}
			continue
		}
		outcomes <- c.commit(batch)
	}
	close(outcomes)
	behind.Wait()
}

// take cuts the next batch off the queue. With last set, an empty queue closes it.
func (c *committer) take(last bool) []submission {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, size, count := 0, 0, 0
	for n < len(c.queue) {
		s := &c.queue[n]
		if n > 0 && (s.below != "" || size+s.size > batchBytes || count+len(s.ops) > batchCount) {
			break
		}
		size += s.size
		count += len(s.ops)
		n++
		if s.below != "" {
			break
		}
	}
	if n == 0 {
		c.closed = last
		return nil
	}
	batch := c.queue[:n:n]
	c.queue = c.queue[n:]
	if len(c.queue) == 0 {
		c.queue = nil
	}
	c.bytes -= size
	return batch
}

func (c *committer) commit(batch []submission) []outcome {
	out := make([]outcome, len(batch))
	var ops []op
	for i, s := range batch {
		out[i] = outcome{s.done, s.err}
		ops = append(ops, s.ops...)
	}
	var err error
	if batch[0].below != "" {
		err = c.clear(batch[0].below)
	}
	if err == nil && len(ops) > 0 {
		err = c.base.commit(ops)
	}
	c.commits.Add(1)
	if err == nil {
		return out
	}
	c.failures.Add(1)
	for i := range out {
		if out[i].err == nil {
			out[i].err = err
		}
	}
	if errors.Is(err, ErrDiskFull) { // submissions that only remove may still be accepted
		c.removals(batch, out)
	}
	return out
}

func (c *committer) removals(batch []submission, out []outcome) {
	var ops []op
	var which []int
	for i, s := range batch {
		if s.err == nil && onlyRemoves(s.ops) {
			ops = append(ops, s.ops...)
			which = append(which, i)
		}
	}
	if len(ops) == 0 {
		return
	}
	err := c.base.commit(ops)
	for _, i := range which {
		out[i].err = err
	}
}

func onlyRemoves(ops []op) bool {
	for i := range ops {
		if ops[i].kind != remove {
			return false
		}
	}
	return true
}

// clear removes everything under a prefix.
func (c *committer) clear(prefix string) error {
	var ops []op
	err := c.base.scan(prefix, func(key string, _ []byte) error {
		ops = append(ops, op{kind: remove, key: key})
		return nil
	})
	if err != nil {
		return err
	}
	for batch := range batches(ops) {
		if err := c.base.commit(batch); err != nil {
			return err
		}
	}
	return nil
}
