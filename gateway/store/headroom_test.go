package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/gateway/generation"
	"github.com/gatehouse/gatehouse/gateway/message"
)

func TestFullDiskRefusesAndRecovers(t *testing.T) {
	var free atomic.Uint64
	free.Store(1 << 40)
	o := testOptions()
	o.MinFree = 100 << 20
	o.Free = func(string) (uint64, error) { return free.Load(), nil }
	dir := t.TempDir()
	s, stop := open(t, dir, o)
	box := s.Outbox()
	add := func(n uint64) error {
		return outcomeOf(t, func(d func(error)) { appendTo(box, n, "", "", testMessage(n, "x"), d) })
	}
	drop := func(n uint64) error {
		return outcomeOf(t, func(d func(error)) { box.Remove(testStream, []uint64{n}, d) })
	}
	for n := range uint64(5) {
		if err := add(n); err != nil {
			t.Fatal(err)
		}
		wait(t, func(d func(error)) { s.Bucket("b").Put(fmt.Sprint("k", n), nil, d) })
	}
	free.Store(99 << 20)
	if err := add(9); !errors.Is(err, ErrDiskFull) {
		t.Errorf("append below the mark: %v", err)
	}
	if err := s.Cache().WriteGeneration(context.Background(), generation.Full{Registry: testData(1)}); !errors.Is(err, ErrDiskFull) {
		t.Errorf("generation below the mark: %v", err)
	}
	if err := s.Cache().MarkDirty("full"); err != nil {
		t.Errorf("the dirty mark must not need free space: %v", err)
	}
	if err := drop(0); err != nil {
		t.Errorf("removal below the mark: %v", err)
	}
	bucket := s.Bucket("b")
	if err := outcomeOf(t, func(d func(error)) { bucket.Delete("k1", d) }); err != nil {
		t.Errorf("removal from messages/ below the mark: %v", err)
	}
	free.Store(49 << 20)
	if err := outcomeOf(t, func(d func(error)) { bucket.Delete("k2", d) }); !errors.Is(err, ErrDiskFull) {
		t.Errorf("removal from messages/ far below the mark: %v", err)
	}
	free.Store(0)
	if err := drop(1); err != nil { // the log has allocated the space for it
		t.Errorf("removal without free space: %v", err)
	}
	free.Store(1 << 40)
	if err := add(9); err != nil {
		t.Errorf("with free space again: %v", err)
	}
	stop()
	s, _ = open(t, dir, o)
	var got []uint64
	_ = loadFrom(s.Outbox(), func(n uint64, _, _ string, _ int, _ *message.Message) error { got = append(got, n); return nil })
	if len(got) != 4 || got[0] != 2 || got[3] != 9 {
		t.Errorf("stored: %v", got)
	}
}

func TestRemovalsGoThroughBesideRefusedPuts(t *testing.T) {
	var free atomic.Uint64
	free.Store(1 << 40)
	o := testOptions()
	o.MinFree = 100 << 20
	o.Free = func(string) (uint64, error) { return free.Load(), nil }
	s, err := Open(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	results := make(chan error, 4)
	done := func(err error) { results <- err }
	appendTo(s.Outbox(), 1, "", "", testMessage(1, "x"), done)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.box.commit.closed = false
	s.box.commit.run(ctx)
	if err := <-results; err != nil {
		t.Fatal(err)
	}
	free.Store(60 << 20)
	s.box.commit.closed = false
	appendTo(s.Outbox(), 2, "", "", testMessage(2, "x"), done) // one batch: nothing runs yet
	s.Outbox().Remove(testStream, []uint64{1}, done)
	s.box.commit.run(ctx)
	if err := <-results; !errors.Is(err, ErrDiskFull) {
		t.Errorf("append: %v", err)
	}
	if err := <-results; err != nil {
		t.Errorf("removal in the same batch: %v", err)
	}
}

// A running compaction uses up disk space that was reserved for it. The store must not stop
// the compactors because of that: stopping waits for the compaction, and every commit
// would wait with it.
func TestCompactionTakesWhatWasFreeForIt(t *testing.T) {
	const mib = 1 << 20
	var free atomic.Uint64
	free.Store(1 << 40)
	o := testOptions()
	o.MinFree = 100 * mib
	o.Free = func(string) (uint64, error) { return free.Load(), nil }
	s, _ := open(t, t.TempDir(), o)
	n := uint64(0)
	commit := func() {
		n++
		wait(t, func(d func(error)) { s.Bucket("b").Put(fmt.Sprint(n), []byte("x"), d) })
	}
	commit()
	b := s.messages
	b.mu.Lock()
	enough := b.headroom(b.compactionBytes())
	b.mu.Unlock()
	free.Store(enough + mib)
	commit()
	if b.quiet {
		t.Fatal("no compactors though there is disk space for them")
	}
	free.Store(enough - 7*mib)
	output := filepath.Join(b.dir, "999999.sst") // not in use yet
	if err := os.WriteFile(output, make([]byte, 8*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	commit()
	if b.quiet {
		t.Error("stopped for what it takes itself")
	}
	free.Store(enough - 9*mib)
	commit()
	if !b.quiet {
		t.Error("not stopped though somebody else takes the disk space for its end")
	}
}

func TestBallastIsGivenUpToStart(t *testing.T) {
	dir := t.TempDir()
	o := testOptions()
	o.Ballast = 1 << 20
	_, stop := open(t, dir, o)
	stop()
	ballast := filepath.Join(dir, "ballast")
	if size(ballast) != 1<<20 {
		t.Fatalf("ballast of %d bytes", size(ballast))
	}
	o.Free = func(string) (uint64, error) {
		if _, err := os.Stat(ballast); err == nil {
			return 10 << 20, nil
		}
		return 60 << 20, nil
	}
	_, stop = open(t, dir, o)
	stop()
	if size(ballast) != 0 {
		t.Error("the ballast is still there")
	}
	o.Free = func(string) (uint64, error) { return 1 << 20, nil }
	if _, err := Open(dir, o); !errors.Is(err, ErrDiskFull) {
		t.Errorf("start on a full disk: %v", err)
	}
}

func TestKV(t *testing.T) {
	dir := t.TempDir()
	k, err := OpenKV(dir, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Commit([]KVOp{{"\x00head", []byte("1")}, {"b", []byte("2")}, {"c", []byte{}}}); err != nil {
		t.Fatal(err)
	}
	if err := k.Commit([]KVOp{{"b", nil}, {"d", []byte("4")}, {"d", nil}, {"e", nil}}); err != nil {
		t.Fatal(err)
	}
	if err := k.Commit([]KVOp{{"big", make([]byte, 9<<20)}}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	many := make([]KVOp, kvCount)
	for i := range many {
		many[i] = KVOp{fmt.Sprint("m", i), []byte("some value of a hundred bytes or so, as an assignment has")}
	}
	if err := k.Commit(many); err != nil {
		t.Errorf("the largest transaction: %v", err)
	}
	for i := range many {
		many[i].Value = nil
	}
	if err := k.Commit(many); err != nil {
		t.Errorf("its removal: %v", err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if k, err = OpenKV(dir, testOptions()); err != nil {
		t.Fatal(err)
	}
	got := ""
	if err := k.Load(func(key string, v []byte) error { got += key + "=" + string(v) + ";"; return nil }); err != nil {
		t.Fatal(err)
	}
	if got != "\x00head=1;c=;" {
		t.Errorf("%q", got)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "data", "MANIFEST")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKV(dir, testOptions()); !errors.Is(err, ErrCorrupt) {
		t.Errorf("damaged: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "quarantine")); err == nil {
		t.Error("the source of truth was set aside")
	}
}

func TestInterruptedGenerationLeavesTheOld(t *testing.T) {
	s, _ := open(t, t.TempDir(), testOptions())
	c := s.Cache()
	first := generation.Full{Version: model.Version{Epoch: 1, Number: 1}, Registry: testData(10)}
	if err := c.WriteGeneration(context.Background(), first); err != nil {
		t.Fatal(err)
	}
	ctx := &endsAfter{Context: context.Background(), calls: 14}
	second := generation.Full{Version: model.Version{Epoch: 1, Number: 2}, Registry: testData(30000)}
	if err := c.WriteGeneration(ctx, second); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
	if c.records() < 6000 {
		t.Fatalf("%d records: the interruption came before anything was written", c.records())
	}
	if g, err := c.Load(context.Background()); err != nil || g.Version != first.Version || len(g.Registry.Devices) != 10 {
		t.Errorf("after an interruption: %v, %d devices, %v", g.Version, len(g.Registry.Devices), err)
	}
	second.Registry = testData(7)
	if err := c.WriteGeneration(context.Background(), second); err != nil {
		t.Fatal(err)
	}
	if g, err := c.Load(context.Background()); err != nil || g.Version != second.Version || len(g.Registry.Devices) != 7 {
		t.Errorf("after the next: %v, %d devices, %v", g.Version, len(g.Registry.Devices), err)
	}
}

// endsAfter is cancelled once Err has been asked a number of times.
type endsAfter struct {
	context.Context
	calls int
}

func (c *endsAfter) Err() error {
	if c.calls--; c.calls < 0 {
		return context.Canceled
	}
	return nil
}

func quiet(s *Store) bool {
	s.messages.mu.Lock()
	defer s.messages.mu.Unlock()
	return s.messages.quiet
}

// small is a store on a disk of which the test says how much is free.
func small(t *testing.T) (*Store, *atomic.Uint64) {
	t.Helper()
	free := new(atomic.Uint64)
	free.Store(1 << 40)
	o := testOptions()
	o.MinFree = 32 << 20
	o.Free = func(string) (uint64, error) { return free.Load(), nil }
	s, _ := open(t, t.TempDir(), o)
	for n := range 3000 {
		s.Bucket("many").Put(fmt.Sprint(n), fmt.Append(nil, n), nil)
	}
	wait(t, func(d func(error)) { s.Bucket("b").Put("k", []byte("v"), d) })
	return s, free
}

func TestCompactorsStopAndStartWithTheFreeSpace(t *testing.T) {
	s, free := small(t)
	put := func() error { return outcomeOf(t, func(d func(error)) { s.Bucket("b").Put("k", []byte("v"), d) }) }
	for _, step := range []struct {
		name   string
		free   uint64
		err    error
		quiet  bool
		commit bool
	}{
		{"enough", 1 << 40, nil, false, true},
		{"too little to compact", 45 << 20, nil, true, true},
		{"none", 0, ErrDiskFull, true, true},
		{"enough, said by the tick", 1 << 40, nil, false, false},
		{"filled by another, said by the tick", 40 << 20, nil, true, false},
		{"enough again", 1 << 40, nil, false, true},
	} {
		free.Store(step.free)
		if step.commit {
			if err := put(); !errors.Is(err, step.err) {
				t.Errorf("%s: put: %v", step.name, err)
			}
		} else {
			s.messages.measure()
		}
		if got := quiet(s); got != step.quiet {
			t.Errorf("%s: quiet %v", step.name, got)
		}
		if step.quiet != s.Quiet() {
			t.Errorf("%s: said to be quiet: %v", step.name, s.Quiet())
		}
		n := 0
		if err := s.Bucket("many").Load(func(string, []byte) error { n++; return nil }); err != nil || n != 3000 {
			t.Errorf("%s: %d records, %v", step.name, n, err)
		}
	}
}

func TestReadersKeepTheTablesTheyRead(t *testing.T) {
	s, free := small(t)
	n := 0
	err := s.Bucket("many").Load(func(key string, _ []byte) error {
		if n++; n == 1 {
			free.Store(45 << 20)
			wait(t, func(d func(error)) { s.Bucket("b").Put("k", []byte("w"), d) })
			if quiet(s) {
				t.Error("opened again under a reader")
			}
		}
		_, err := s.Bucket("many").Get(key) // a reader within a reader
		return err
	})
	if err != nil || n != 3000 {
		t.Errorf("%d records, %v", n, err)
	}
	wait(t, func(d func(error)) { s.Bucket("b").Put("k", []byte("x"), d) })
	if !quiet(s) {
		t.Error("the next commit did not try again")
	}
}

func TestSharedLockAdmitsAReaderAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l sharedLock
		l.lockShared()
		if l.tryLock() {
			t.Fatal("locked while a reader holds it")
		}
		locked := false
		go func() { l.lock(); locked = true; l.unlock() }()
		synctest.Wait()
		l.lockShared() // while a writer waits
		l.unlockShared()
		synctest.Wait()
		if locked {
			t.Fatal("locked while a reader holds it")
		}
		l.unlockShared()
		synctest.Wait()
		if !locked || !l.tryLock() {
			t.Error("not locked, or not unlocked again")
		}
	})
}

// What compactions can write is bounded by what is alive: a drained backlog
// is compacted even if its tables are larger than the free disk space.
func TestDrainedStoreIsCompactedWithLittleFreeSpace(t *testing.T) {
	s, free := small(t)
	payload := strings.Repeat("x", 60<<10)
	noise := rand.NewChaCha8([32]byte{})
	for n := range 1500 {
		s.Bucket("much").Put(fmt.Sprint(n), []byte(payload[:30<<10]+string(random(noise, 30<<10))), nil)
	}
	wait(t, func(d func(error)) { s.Bucket("b").Put("k", []byte("v"), d) })
	free.Store(60 << 20)
	s.messages.measure() // not enough for an empty store; memtables become tables
	free.Store(100 << 20)
	s.messages.measure()
	if !quiet(s) {
		t.Fatal("compactors run where they may need more than there is")
	}
	for n := range 1499 {
		s.Bucket("much").Delete(fmt.Sprint(n), nil)
	}
	wait(t, func(d func(error)) { s.Bucket("much").Delete("1499", d) })
	s.messages.measure()
	if quiet(s) {
		t.Error("nothing is left to write, and nothing compacts")
	}
}
