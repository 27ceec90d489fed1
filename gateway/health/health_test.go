package health

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type clock struct{ t time.Time }

func (c *clock) now() time.Time { c.t = c.t.Add(time.Second); return c.t }

func TestLifeOfWarnings(t *testing.T) {
	c := &clock{time.Unix(1000, 0)}
	h := New(c.now)
	var told []string
	h.Watch(func(c Change) {
		told = append(told, fmt.Sprintf("%s raised=%v %s", c.Warning.Name, c.Raised, c.State))
	})
	if got := h.Report(); got.State != "ok" || len(got.Warnings) != 0 {
		t.Fatalf("at first: %+v", got)
	}
	h.Raise("root-assignment", Notice, "an assignment at /", "narrow it")
	h.Raise("cache-stale", Degraded, "61 min old", "look at sync")
	since := h.Report().Warnings[0].Since
	h.Raise("cache-stale", Degraded, "62 min old", "look at sync")
	if w := h.Report().Warnings[0]; w.Text != "62 min old" || !w.Since.Equal(since) {
		t.Errorf("raised again: %+v, want the new text and the old beginning", w)
	}
	h.Raise("disk-full", Failing, "no space", "free some")
	h.Clear("never-raised")
	h.Set(false, "disk-full", Failing, "", "")
	h.Clear("cache-stale")
	r := h.Report()
	if r.State != "ok" || len(r.Warnings) != 1 {
		t.Errorf("at last: %+v", r)
	}
	want := []string{
		"root-assignment raised=true ok",
		"cache-stale raised=true degraded",
		"disk-full raised=true failing",
		"disk-full raised=false degraded",
		"cache-stale raised=false ok",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
}

func TestOrder(t *testing.T) {
	c := &clock{time.Unix(1000, 0)}
	h := New(c.now)
	h.Raise("b", Degraded, "", "")
	h.Raise("a", Notice, "", "")
	h.Raise("c", Failing, "", "")
	h.Raise("d", Degraded, "", "")
	var names []string
	for _, w := range h.Report().Warnings {
		names = append(names, w.Name)
	}
	if diff := cmp.Diff([]string{"c", "b", "d", "a"}, names); diff != "" {
		t.Error(diff)
	}
}

// TestConcurrent: watchers see raise and clear of one name strictly in turn,
// whatever many goroutines do.
func TestConcurrent(t *testing.T) {
	h := New(nil)
	raised := map[string]bool{}
	h.Watch(func(c Change) {
		if raised[c.Warning.Name] == c.Raised {
			t.Errorf("%s: told %v twice", c.Warning.Name, c.Raised)
		}
		raised[c.Warning.Name] = c.Raised
	})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				h.Set((i+g)%3 != 0, fmt.Sprintf("w%d", i%4), Degraded, "t", "n")
				h.Report()
			}
		})
	}
	wg.Wait()
}
