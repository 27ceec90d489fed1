package offline

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"time"
)

// Store keeps the time, and when the cached policy was confirmed, over a restart.
type Store interface {
	// HighWater is the mark that was stored last; zero if none was.
	HighWater() Stamp
	// Taken is when the cloud stated or last confirmed the stored policy; zero if none is stored.
	Taken() Stamp
	// RaiseHighWater stores a mark unless a later one is stored, and when the stored policy
	// was confirmed; zero: never.
	RaiseHighWater(mark Stamp, confirmed time.Time) error
}

// Bucket is a part of the message store, which is another witness of the time than Store:
// a gateway that loses one of the two does not forget what time it was.
type Bucket interface {
	Get(key string) ([]byte, error)
	// Put calls done, which may be nil, once the value is synced.
	Put(key string, value []byte, done func(error))
}

// stampKey is under which a Bucket has the newest stamp.
const stampKey = "mark"

// Keeper stores what a clock and its stages know, and tells at the next start what it was.
// The audit file is no witness of the time, because it carries that of the system clock.
type Keeper struct {
	Store  Store
	Bucket Bucket
	Log    *slog.Logger
	// Clock and Stages are needed by every method but Last.
	Clock  *Clock
	Stages *Stages
}

// Last is the latest time of which anything stored is a witness: the mark, the cached
// policy or the newest record of the message store.
func (k *Keeper) Last() Stamp {
	var recorded Stamp
	if b, err := k.Bucket.Get(stampKey); err == nil {
		if err := json.Unmarshal(b, &recorded); err != nil {
			k.Log.Warn("the message store does not say what time it was", "err", err)
		}
	}
	return Latest(k.Store.HighWater(), k.Store.Taken(), recorded)
}

// Keep stores the mark and when the policy was confirmed.
func (k *Keeper) Keep() {
	if err := k.keep(); err != nil {
		k.Log.Warn("the high-water mark of time was not stored", "err", err)
	}
}

func (k *Keeper) keep() error { return k.Store.RaiseHighWater(k.Clock.Stamp(), k.Stages.Confirmed()) }

// Record stores the mark in the message store; see Bucket.Put for done.
func (k *Keeper) Record(done func(error)) {
	b, err := json.Marshal(k.Clock.Stamp())
	if err != nil { // of a year that JSON cannot name
		err = fmt.Errorf("the mark of time: %w", err)
		k.Log.Error("not recorded", "err", err)
		if done != nil {
			done(err)
		}
		return
	}
	k.Bucket.Put(stampKey, b, done)
}

// Reset is Clock.Reset, stored: nothing that was stored before outranks it. An error says
// that it may not survive a restart; Keep tries again.
func (k *Keeper) Reset() (was, now time.Time, err error) {
	was, now = k.Clock.Reset()
	k.Stages.NotAfter(now)
	k.Record(nil)
	return was, now, k.keep()
}
