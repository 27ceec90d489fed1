package store

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/gateway/generation"
	"github.com/gatehouse/gatehouse/gateway/offline"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// timed is a cache whose generation, number 1, was taken at noon. restart opens it again.
func timed(t *testing.T, resets uint64) (c *Cache, restart func() *Cache) {
	t.Helper()
	dir := t.TempDir()
	s, stop := open(t, dir, testOptions())
	g := generation.Full{Version: model.Version{Epoch: 1, Number: 1}, Taken: noon, Resets: resets}
	if err := s.Cache().WriteGeneration(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	return s.Cache(), func() *Cache {
		stop()
		s, stop = open(t, dir, testOptions())
		return s.Cache()
	}
}

func raise(t *testing.T, c *Cache, resets uint64, mark, confirmed time.Time) {
	t.Helper()
	if err := c.RaiseHighWater(offline.Stamp{Resets: resets, Time: mark}, confirmed); err != nil {
		t.Fatal(err)
	}
}

// taken is when the generation was taken, as its reader is told.
func taken(t *testing.T, c *Cache) time.Time {
	t.Helper()
	g, err := c.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s := c.Taken(); !s.Time.Equal(g.Taken) {
		t.Errorf("Taken is %v, Load says %v", s.Time, g.Taken)
	}
	return g.Taken
}

// A delta that is stored makes the policy as young as it is, after a restart too.
func TestAgeOfADeltaSurvivesARestart(t *testing.T) {
	c, restart := timed(t, 0)
	d := generation.Delta{Taken: noon.Add(time.Hour), Resets: 3}
	d.Policy.From, d.Policy.To = model.Version{Epoch: 1, Number: 1}, model.Version{Epoch: 1, Number: 2}
	if err := c.WriteDelta(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	c = restart()
	if got := taken(t, c); !got.Equal(d.Taken) {
		t.Errorf("taken %v, want %v", got, d.Taken)
	}
	if s := c.Taken(); s.Resets != 3 {
		t.Errorf("it was stamped after %d resets, want 3", s.Resets)
	}
}

// The cloud's last word makes the policy younger that it was about, and no other.
func TestConfirmationIsOfOneGeneration(t *testing.T) {
	c, restart := timed(t, 0)
	raise(t, c, 0, noon.Add(2*time.Hour), noon.Add(time.Hour))
	c = restart()
	if got := taken(t, c); !got.Equal(noon.Add(time.Hour)) {
		t.Errorf("confirmed an hour later, it counts as of %v", got)
	}
	next := generation.Full{Version: model.Version{Epoch: 1, Number: 2}, Taken: noon.Add(time.Minute)}
	if err := c.WriteGeneration(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	c = restart()
	if got := taken(t, c); !got.Equal(next.Taken) {
		t.Errorf("the next generation counts as of %v, want %v", got, next.Taken)
	}
	raise(t, c, 0, noon.Add(2*time.Hour), noon.Add(9*time.Hour))
	if got := taken(t, c); got.After(noon.Add(2 * time.Hour)) {
		t.Errorf("it counts as confirmed at %v, which is later than the mark", got)
	}
}

// A mark of before a reset, that arrives after it, changes nothing.
func TestMarkOfBeforeAResetIsIgnored(t *testing.T) {
	c, restart := timed(t, 0)
	wrong := noon.AddDate(64, 0, 0)
	raise(t, c, 0, wrong, time.Time{})
	raise(t, c, 1, noon, time.Time{})
	raise(t, c, 0, wrong, wrong)
	for range 2 {
		if s := c.HighWater(); s.Resets != 1 || !s.Time.Equal(noon) {
			t.Errorf("the mark is %+v", s)
		}
		if got := taken(t, c); !got.Equal(noon) {
			t.Errorf("taken %v", got)
		}
		c = restart()
	}
}

// A policy of before two resets counts as no younger than the earlier of them, and one of
// between them as no younger than the second.
func TestPolicyIsNoYoungerThanTheResetAfterIt(t *testing.T) {
	for _, k := range []struct {
		name   string
		resets uint64 // before the generation of noon
		first  time.Duration
		second time.Duration
		want   time.Duration
	}{
		{"before both", 0, -2 * time.Hour, -time.Hour, -2 * time.Hour},
		{"before both, the second goes back", 0, -time.Hour, -2 * time.Hour, -2 * time.Hour},
		{"in between", 1, -2 * time.Hour, -time.Hour, -time.Hour},
		{"after both", 2, -2 * time.Hour, -time.Hour, 0},
		{"resets forward", 0, time.Hour, 2 * time.Hour, 0},
	} {
		t.Run(k.name, func(t *testing.T) {
			c, restart := timed(t, k.resets)
			raise(t, c, 1, noon.Add(k.first), time.Time{})
			raise(t, c, 2, noon.Add(k.second), time.Time{})
			if got := taken(t, restart()); !got.Equal(noon.Add(k.want)) {
				t.Errorf("it counts as of %v, want %v", got, noon.Add(k.want))
			}
		})
	}
}

// The mark that an earlier release stored is read.
func TestMarkOfAnEarlierReleaseIsRead(t *testing.T) {
	c, restart := timed(t, 0)
	if err := c.clock.put(binary.BigEndian.AppendUint64(nil, uint64(noon.UnixNano())), true); err != nil {
		t.Fatal(err)
	}
	if s := restart().HighWater(); !s.Time.Equal(noon) {
		t.Errorf("%+v", s)
	}
}
