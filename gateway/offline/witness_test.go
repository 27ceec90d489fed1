package offline_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/offline"
)

// The cloud alone moves the mark by a day in all, in however many steps, until a second witness agrees.
func TestTheCloudAloneMovesTheMarkByADayInAll(t *testing.T) {
	mark := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	f := &fakeTime{mark.Add(-1000 * time.Hour)} // no witness
	clk := offline.NewClock(offline.ClockOptions{System: f.now, Mark: mark, Built: mark.Add(-2000 * time.Hour)})
	for range 10 {
		clk.ReportCloudTime(clk.Mark().Add(7*time.Hour), 1)
	}
	if moved := clk.Mark().Sub(mark); moved != 21*time.Hour {
		t.Errorf("ten steps of seven hours have moved it by %v, want 21h", moved)
	}
	f.t = clk.Mark().Add(7 * time.Hour) // the system clock is set: time passes for the clock, too
	before := clk.Mark()
	clk.ReportCloudTime(f.t, 1)
	for range 3 {
		clk.ReportCloudTime(clk.Mark().Add(7*time.Hour), 1)
	}
	if moved := clk.Mark().Sub(before); moved != 21*time.Hour {
		t.Errorf("after the system clock has agreed, three steps move it by %v, want 21h", moved)
	}
}

// What was read after an operator's reset is later than whatever was read before it, also if the time
// that it shows is earlier.
func TestAResetOutranksEveryEarlierReading(t *testing.T) {
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	wrong := offline.Stamp{Resets: 1, Time: at.Add(1000 * time.Hour)}
	right := offline.Stamp{Resets: 2, Time: at}
	if !right.After(wrong) || wrong.After(right) {
		t.Errorf("the reading after the reset is later: %v, the other one: %v", right.After(wrong), wrong.After(right))
	}
	for _, list := range [][]offline.Stamp{{wrong, right}, {right, wrong}, {{}, right, wrong, {}}} {
		if got := offline.Latest(list...); got != right {
			t.Errorf("the latest of %v is %v", list, got)
		}
	}
}

// kept is a Store and a Bucket in memory.
type kept struct {
	mark   offline.Stamp
	record []byte
}

func (k *kept) HighWater() offline.Stamp { return k.mark }
func (k *kept) Taken() offline.Stamp     { return offline.Stamp{} }

func (k *kept) RaiseHighWater(mark offline.Stamp, _ time.Time) error {
	if mark.After(k.mark) {
		k.mark = mark
	}
	return nil
}

func (k *kept) Get(string) ([]byte, error) { return k.record, nil }

func (k *kept) Put(_ string, value []byte, done func(error)) {
	k.record = value
	if done != nil {
		done(nil)
	}
}

// An operator's reset is in both stores before it returns: whichever of the two is lost, the other one
// outranks the wrong time.
func TestAResetIsInBothStores(t *testing.T) {
	right := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	f := &fakeTime{right}
	clk := offline.NewClock(offline.ClockOptions{System: f.now, Mark: right.Add(9000 * time.Hour), Built: right.Add(-time.Hour)})
	stages := offline.NewStages(clk, limits, func(offline.Stage, offline.Stage, time.Duration) {})
	cache, messages := &kept{}, &kept{}
	k := &offline.Keeper{Store: cache, Bucket: messages, Log: slog.New(slog.DiscardHandler), Clock: clk, Stages: stages}
	k.Keep()
	k.Record(nil)
	if _, _, err := k.Reset(); err != nil {
		t.Fatal(err)
	}
	for name, left := range map[string]*offline.Keeper{
		"the cache":    {Store: cache, Bucket: &kept{record: []byte("{}")}, Log: k.Log},
		"the messages": {Store: &kept{}, Bucket: messages, Log: k.Log},
	} {
		if got := left.Last(); got.Resets != 1 || !got.Time.Equal(right) {
			t.Errorf("with %s alone, the latest is %+v", name, got)
		}
	}
}
