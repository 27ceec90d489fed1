package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gatehouse/gatehouse/gateway/store/internal/seglog"
)

// boxDir is the directory of the outbox, beside messages/ and cache/.
const boxDir = "outbox"

// boxOp is an operation of the outbox's log.
type boxOp struct {
	seglog.Op
	// lazy: nobody waits for it, so it need not be synced by itself. If a power cut takes a removal, the
	// message is sent once more.
	lazy bool
}

// boxLog is the log of the outbox and its group committer.
type boxLog struct {
	dir    string
	opt    Options
	log    *seglog.Log
	commit *committer[boxOp]

	mu     sync.Mutex
	copies int        // guarded by mu: damaged files that were copied
	damage Quarantine // guarded by mu; what was found damaged since the start began: nothing, if it has no Reason
}

// openBoxLog opens the log in parent/outbox. What a start finds damaged there is copied
// below quarantine/, and told.
func openBoxLog(parent string, o Options) (*boxLog, error) {
	dir := filepath.Join(parent, boxDir)
	b := &boxLog{dir: dir, opt: o, damage: Quarantine{Store: boxDir, Time: o.Now().UTC()}}
	b.commit = newCommitter(dir, b.write)
	if isOther(dir) {
		q, err := moveAside(parent, boxDir, "it is no directory", o)
		if err != nil {
			return nil, err
		}
		b.damage = *q
	}
	// Without its name in parent, a power cut would take the directory with all that was acknowledged in it.
	if err := errors.Join(makeDir(dir), boxError("make", dir, syncDir(parent))); err != nil {
		return nil, err
	}
	log, report, err := seglog.Open(
		seglog.Dir{Path: dir, KeepIn: b.keepIn},
		seglog.Options{Segment: o.segment, Unsynced: o.unsynced, Log: o.Log},
	)
	if err != nil {
		return nil, boxError("open", dir, err)
	}
	b.log = log
	protect(dir)
	if len(report.Damaged) > 0 {
		b.damage.Salvaged = report.Found
		b.damage.Reason = fmt.Sprintf("%d of its files are damaged: %d messages are found, %d are lost, in %d places it is not known what was",
			len(report.Damaged), report.Found, report.Lost, report.Unknown)
		o.Log.Error("the outbox is damaged", "files", report.Damaged, "found", report.Found, "lost", report.Lost,
			"unknown", report.Unknown, "kept", b.damage.MovedTo)
	}
	return b, nil
}

// isOther tells whether something has the name of dir that is no directory, and no symbolic link to one.
func isOther(dir string) bool {
	if i, err := os.Stat(dir); err == nil {
		return !i.IsDir()
	}
	_, err := os.Lstat(dir)
	return err == nil
}

var errNoCopy = errors.New("enough files are kept, or the disk has too little free space")

// maxCopies bounds how many damaged files are copied, so that the copies cannot fill the disk.
const maxCopies = 8

// keepIn is where damaged files go, or copies of them.
func (b *boxLog) keepIn(move bool) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !move {
		free, err := b.opt.Free(b.dir)
		if b.copies++; b.copies > maxCopies || err != nil || free < 2*b.opt.MinFree {
			return "", errors.Join(err, errNoCopy)
		}
	}
	if b.damage.MovedTo == "" {
		b.damage.MovedTo = asidePath(filepath.Dir(b.dir), boxDir, b.damage.Time)
	}
	aside := filepath.Dir(b.damage.MovedTo)
	if err := errors.Join(makeDir(aside), makeDir(b.damage.MovedTo)); err != nil {
		return "", err
	}
	prune(aside, boxDir, b.damage.MovedTo)
	return b.damage.MovedTo, nil
}

// damaged tells what was found damaged since the start began.
func (b *boxLog) damaged() []Quarantine {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.damage.Reason == "" {
		return nil
	}
	return []Quarantine{b.damage}
}

// verify reads what the start has not read, and tells what is damaged of it. The damaged
// messages are lost: whoever comes to send them passes over them.
func (b *boxLog) verify(ctx context.Context) {
	files, records, err := b.log.Verify(ctx)
	if err != nil {
		b.opt.Log.Warn("the outbox could not be verified", "err", err)
	}
	if len(files) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.damage.Reason != "" {
		b.damage.Reason += "; "
	}
	b.damage.Reason += fmt.Sprintf("%d messages in %d of its files cannot be read", records, len(files))
	b.opt.Log.Error("stored messages are damaged", "files", files, "lost", records, "kept", b.damage.MovedTo)
}

func newBoxLog(dir string, log *seglog.Log, o Options) *boxLog {
	b := &boxLog{dir: dir, opt: o, log: log}
	b.commit = newCommitter(dir, b.write)
	return b
}

// boxError is err as an Error of this package.
func boxError(what, dir string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		err = fmt.Errorf("%w: %w", ErrDiskFull, err)
	case errors.Is(err, seglog.ErrTooLarge):
		err = fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return &Error{Op: what, Path: dir, Err: err}
}

// submit never blocks.
func (b *boxLog) submit(s submissionOf[boxOp]) {
	s.spare = true
	for i := range s.ops {
		if r := s.ops[i].Append; r != nil {
			s.spare = false
			if n := len(r.Payload) + len(r.Content); n > MaxRecord {
				s.err = &Error{Op: "commit", Path: b.dir, Err: ErrTooLarge}
			} else {
				s.size += n + 64
			}
		}
	}
	b.commit.submit(s)
}

// write commits a group to the log.
func (b *boxLog) write(list []boxOp) error {
	ops := make([]seglog.Op, len(list))
	appends, sync := false, false
	for i := range list {
		ops[i] = list[i].Op
		appends = appends || ops[i].Append != nil
		sync = sync || !list[i].lazy
	}
	if appends {
		if err := b.admit(); err != nil {
			return err
		}
	}
	return boxError("commit", b.dir, b.log.Commit(ops, sync))
}

// admit refuses messages while too little disk space is free. Removals need none: the log
// has allocated the space for them beforehand.
func (b *boxLog) admit() error {
	need := b.opt.MinFree
	if b.opt.disk.ballastSpent.Load() { // see base.admit
		need += uint64(b.opt.Ballast)
	}
	free, err := b.opt.Free(b.dir)
	if err != nil {
		return &Error{Op: "measure free space", Path: b.dir, Err: err}
	}
	if free < need {
		return &Error{
			Op:   "commit",
			Path: b.dir,
			Err:  ErrDiskFull,
			Hint: fmt.Sprintf("%d MiB free, %d MiB wanted; writing goes on by itself when enough is free", free>>20, need>>20),
		}
	}
	return nil
}

// tidy runs the log's background work until ctx ends.
func (b *boxLog) tidy(ctx context.Context) {
	verified := make(chan struct{})
	go func() {
		defer close(verified)
		b.verify(ctx)
	}()
	defer func() { <-verified }()
	tick, flush := time.NewTicker(time.Minute), time.NewTicker(time.Second)
	defer tick.Stop()
	defer flush.Stop()
	records, failing := 0, false
	for {
		select {
		case <-ctx.Done():
			return
		case <-flush.C:
			b.flush()
			continue
		case <-b.log.Work():
		case <-tick.C:
			if n := b.log.Stats().Records; n == records { // nothing has come or gone
				b.log.Idle()
			} else {
				records = n
			}
		}
		err := b.log.Tidy()
		if err != nil && !failing {
			b.opt.Log.Warn("the outbox could not be tidied up, and this is tried again", "err", err)
		}
		if failing = err != nil; failing {
			select {
			case <-ctx.Done():
			case <-flush.C:
				b.flush()
			}
			b.log.Again()
		}
	}
}

func (b *boxLog) flush() {
	if err := b.log.Flush(); err != nil {
		b.opt.Log.Warn("the outbox could not be synced", "err", err)
	}
}
