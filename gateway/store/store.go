package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Namespaces of messages/: the first byte of a key.
const (
	nsBucket    = "b"
	nsInbound   = "i"
	nsOutbox    = "o" // of earlier releases
	nsParked    = "p"
	nsPrincipal = "P"
	nsQueue     = "q"
	nsRetained  = "r"
	nsSession   = "s"
	nsSums      = "S" // of earlier releases
	nsState     = "t"
	nsWill      = "w"
)

// Store is the gateway's state on disk.
type Store struct {
	dir      string
	opt      Options
	lock     *os.File
	messages *base
	commit   messageCommitter
	box      *boxLog
	cache    *Cache
	people   *people
	aside    []Quarantine // of Open; the cache may add its own
	// leftBehind is the highest number of an outbox record that takeOver has left in messages/; 0: none is.
	leftBehind uint64
	// taken is the highest number that an outbox record had by the end of Open; 0: the stored ones tell it.
	taken uint64
}

// Open opens, checks and if necessary replaces the store in dir. It starts no
// goroutine of its own (badger does); nothing is committed to messages/ before Run.
func Open(dir string, o Options) (_ *Store, err error) {
	o = o.withDefaults()
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	s := &Store{dir: dir, opt: o}
	if s.lock, err = lockDir(filepath.Join(dir, "lock")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	sealer, err := newSealer(dir, o.Key)
	if err != nil {
		return nil, err
	}
	var q *Quarantine
	s.messages, q, err = openBase(dir, spec{
		name:     "messages",
		memTable: memTable,
		schema:   schemaLog,
		setAside: true,
		salvage: func(key string) bool {
			return key[:1] == nsOutbox || key[:1] == nsParked || key[:1] == nsPrincipal
		},
	}, o)
	s.note(q)
	if err != nil {
		return nil, err
	}
	s.commit, s.people = newMessageCommitter(s.messages), newPeople(s.messages)
	if s.box, err = openBoxLog(dir, o); err != nil {
		return nil, err
	}
	if err := s.endHalfDone(); err != nil {
		return nil, err
	}
	if s.cache, err = openCache(dir, sealer, o); err != nil {
		return nil, err
	}
	restoreBallast(dir, o)
	return s, nil
}

// endHalfDone ends what the last process has left half done. What the disk has no space for is done by a later start.
func (s *Store) endHalfDone() error {
	for _, step := range []func() error{s.takeOver, s.reconcileParked, s.forgetUnused} {
		if err := step(); err != nil && !errors.Is(err, ErrDiskFull) {
			return err
		}
	}
	streams, err := s.box.log.Streams()
	if err != nil {
		return boxError("open", s.box.dir, err)
	}
	last := uint64(0)
	for _, q := range streams {
		last = max(last, q.Last)
	}
	if n := max(s.leftBehind, s.box.log.Highest()); n > last {
		s.taken = n
	}
	return nil
}

func (s *Store) forgetUnused() error {
	if s.leftBehind > 0 { // their publishers are in use
		return nil
	}
	return s.people.forgetUnused()
}

func (s *Store) note(q *Quarantine) {
	if q != nil {
		s.aside = append(s.aside, *q)
	}
}

// Run commits what is submitted and collects garbage until ctx ends; then it
// commits what was submitted before, runs the last done function and returns nil.
func (s *Store) Run(ctx context.Context) (err error) {
	stop, tidied := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(tidied)
		s.box.tidy(ctx)
	}()
	go func() { //nolint:gosec // it outlives ctx, see below
		defer close(stop)
		// The outbox goes on until messages/ has ended, because what is parked there is removed here.
		boxed, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.box.commit.run(boxed)
		}()
		s.commit.run(ctx)
		cancel()
		<-ended
		<-tidied
	}()
	tick, tidy := time.NewTicker(time.Minute), time.NewTicker(10*time.Minute)
	defer tick.Stop()
	defer tidy.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-tick.C:
			s.messages.measure()
			s.cache.measure()
		case <-tidy.C:
			s.messages.collect()
			s.cache.collect()
			protect(s.messages.dir)
			restoreBallast(s.dir, s.opt)
		}
	}
}

// Close closes all directories. Call it after Run has returned.
func (s *Store) Close() error {
	var errs []error
	if s.box != nil {
		errs = append(errs, boxError("close", s.box.dir, s.box.log.Close()))
	}
	if s.messages != nil {
		errs = append(errs, s.messages.close())
	}
	if s.cache != nil {
		errs = append(errs, s.cache.close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// Cache is the policy and registry cache.
func (s *Store) Cache() *Cache { return s.cache }

// Quarantined lists the directories that were set aside by Open or since, and what was found
// damaged in the outbox, for health.
func (s *Store) Quarantined() []Quarantine {
	return slices.Concat(s.aside, s.box.damaged(), s.cache.quarantined())
}

// Quiet tells whether a directory runs without compactors because the disk has
// too little free space for them: the store works, and grows. It ends by itself
// when enough is free.
func (s *Store) Quiet() bool { return s.opt.disk.quiet.Load() > 0 }

// Stats is what a status page shows.
type Stats struct {
	Free             uint64 // bytes the file system has left
	MinFree          uint64
	Records          uint64 // live records of messages/ and the outbox
	CacheRecords     uint64
	Commits          uint64 // group commits since start
	FailedCommits    uint64
	DiskBytes        int64 // of messages/ and the outbox
	Pending          int   // submissions waiting
	SchemaVersion    int
	QuarantinedCount int
}

// Stats measures the store; it takes some system calls.
func (s *Store) Stats() Stats {
	free, _ := s.opt.Free(s.dir)
	st := Stats{
		Free:             free,
		MinFree:          s.opt.MinFree,
		Commits:          s.commit.commits.Load(),
		FailedCommits:    s.commit.failures.Load(),
		SchemaVersion:    schema,
		QuarantinedCount: len(s.Quarantined()),
	}
	box := s.box.log.Stats()
	st.Records = s.messages.records() + uint64(box.Records) //nolint:gosec // not negative
	st.CacheRecords = s.cache.records()
	st.Pending = s.commit.pending() + s.box.commit.pending()
	st.Commits += s.box.commit.commits.Load()
	st.FailedCommits += s.box.commit.failures.Load()
	st.DiskBytes = s.messages.diskBytes() + box.Disk
	return st
}

func (b *base) records() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.head.count
}
