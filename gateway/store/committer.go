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

// submissionOf is a set of operations that are committed together.
type submissionOf[T any] struct {
	ops []T
	// below, if not "", is a prefix: everything stored under it is removed
	// first, in transactions of its own.
	below string
	size  int
	spare bool  // it only removes
	err   error // if set, the submission was refused; it is only queued so that done runs in order
	done  func(error)
}

// submission is one for messages/.
type submission = submissionOf[op]

// committer is the group committer: while one sync runs the next batch
// gathers, so that clients share syncs instead of queueing for them.
type committer[T any] struct {
	path   string // for errors
	commit func([]T) error
	clear  func(below string) error
	wake   chan struct{}

	mu     sync.Mutex
	queue  []submissionOf[T] // guarded by mu
	bytes  int               // guarded by mu
	closed bool              // guarded by mu

	commits, failures atomic.Uint64
}

func newCommitter[T any](path string, commit func([]T) error) *committer[T] {
	return &committer[T]{path: path, commit: commit, wake: make(chan struct{}, 1)}
}

// messageCommitter is the committer of messages/.
type messageCommitter struct{ *committer[op] }

func newMessageCommitter(b *base) messageCommitter {
	c := messageCommitter{newCommitter(b.dir, b.commit)}
	c.clear = b.clear
	return c
}

// submit never blocks.
func (c messageCommitter) submit(s submission) {
	for i := range s.ops {
		s.size += s.ops[i].size()
		if len(s.ops[i].value) > MaxRecord {
			s.err = &Error{Op: "commit", Path: c.path, Err: ErrTooLarge}
		}
	}
	s.spare = onlyRemoves(s.ops)
	c.committer.submit(s)
}

// submit never blocks. size and spare of s are set.
func (c *committer[T]) submit(s submissionOf[T]) {
	if len(s.ops) > batchCount || s.size > batchBytes {
		s.err = &Error{Op: "commit", Path: c.path, Err: ErrTooLarge}
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		if s.done != nil {
			go s.done(&Error{Op: "commit", Path: c.path, Err: ErrClosed})
		}
		return
	}
	if s.err == nil && c.bytes+s.size > maxPending && !s.spare {
		s.err = &Error{Op: "commit", Path: c.path, Err: ErrBusy}
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

func (c *committer[T]) pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue)
}

type outcome struct {
	done func(error)
	err  error
}

// run commits until ctx ends, then commits what was submitted before that, and returns
// after the last done function.
func (c *committer[T]) run(ctx context.Context) {
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
		outcomes <- c.commitBatch(batch)
	}
	close(outcomes)
	behind.Wait()
}

// take cuts the next batch off the queue. With last set, an empty queue closes it.
func (c *committer[T]) take(last bool) []submissionOf[T] {
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

func (c *committer[T]) commitBatch(batch []submissionOf[T]) []outcome {
	out := make([]outcome, len(batch))
	var ops []T
	if len(batch) == 1 {
		ops = batch[0].ops
	}
	for i, s := range batch {
		out[i] = outcome{s.done, s.err}
		if len(batch) > 1 {
			ops = append(ops, s.ops...)
		}
	}
	var err error
	if batch[0].below != "" {
		err = c.clear(batch[0].below)
	}
	if err == nil && len(ops) > 0 {
		err = c.commit(ops)
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

func (c *committer[T]) removals(batch []submissionOf[T], out []outcome) {
	var ops []T
	var which []int
	for i, s := range batch {
		if s.err == nil && s.spare {
			ops = append(ops, s.ops...)
			which = append(which, i)
		}
	}
	if len(which) == 0 {
		return
	}
	var err error
	if len(ops) > 0 {
		err = c.commit(ops)
	}
	for _, i := range which {
		out[i].err = err
	}
}

func onlyRemoves(ops []op) bool {
	for i := range ops {
		if ops[i].kind != remove && ops[i].kind != erase {
			return false
		}
	}
	return true
}

// clear removes everything under a prefix.
func (b *base) clear(prefix string) error {
	var ops []op
	err := b.scan(prefix, func(key string, _ []byte) error {
		ops = append(ops, op{kind: remove, key: key})
		return nil
	})
	if err != nil {
		return err
	}
	for batch := range batches(ops) {
		if err := b.commit(batch); err != nil {
			return err
		}
	}
	return nil
}
