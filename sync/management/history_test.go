package management

import (
	"fmt"
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/sync/wire"
)

// cursorOf names number and history, as a gateway does.
func (h *harness) cursorOf() string {
	v := h.server.Version()
	return v.String() + "&history=" + v.History
}

// twin is another server with a copy of what this one's store holds.
func (h *harness) twin(change ...func(*Options)) *harness {
	h.Helper()
	store := NewMemoryStore()
	h.store.mu.Lock()
	store.pairs = maps.Clone(h.store.pairs)
	h.store.mu.Unlock()
	return open2(h.T, store, change...)
}

func (h *harness) rename(text string) {
	h.Helper()
	h.want(204, "admin", "PATCH", "/devices/"+num(21).String(), fmt.Sprintf(`{"friendlyName":%q}`, text))
}

// TestACursorOfAnotherHistory is refused, although its number is one of this server's;
// a server that made the same changes has the same history.
func TestACursorOfAnotherHistory(t *testing.T) {
	h := start(t)
	before := h.cursorOf()
	restored, same := h.twin(), h.twin()
	h.rename("one")
	restored.rename("two")
	same.rename("one")
	cursor := h.cursorOf()
	h.rename("three")
	restored.rename("three")
	if got := h.feed("admin", before, ""); got != "Update Device 21" {
		t.Errorf("its own cursor: %q", got)
	}
	if got := restored.feed("admin", before, ""); got != "Update Device 21" {
		t.Errorf("a cursor of before the restored backup: %q", got)
	}
	if same.cursorOf() != cursor {
		t.Error("the same changes make two histories")
	}
	a := restored.want(410, "admin", "GET", "/changes?since="+cursor, nil)
	if !strings.Contains(a.body, wire.CodeHistory) {
		t.Errorf("the answer does not say why: %s", a.body)
	}
	// A gateway of before histories names the number alone, and is answered as it was.
	if got := restored.feed("admin", strings.Split(cursor, "&")[0], ""); got != "Update Device 21" {
		t.Errorf("a cursor without history: %q", got)
	}
	f, err := wire.ParseFeed([]byte(restored.want(200, "admin", "GET", "/changes", nil).body))
	if err != nil || f.To != restored.server.Version() {
		t.Errorf("without a cursor: %+v, %v, want %+v", f.To, err, restored.server.Version())
	}
}

// TestHistoriesSurviveARestart, also those of changes that the feed has forgotten but
// for their number, and of a change larger than the feed.
func TestHistoriesSurviveARestart(t *testing.T) {
	few := func(o *Options) { o.FeedEvents = 3 }
	h := start(t, few)
	var cursors []string
	for i := range 5 {
		h.rename(fmt.Sprint(i))
		cursors = append(cursors, h.cursorOf())
	}
	again := h.twin(few)
	if again.cursorOf() != h.cursorOf() {
		t.Errorf("got %s, want %s", again.cursorOf(), h.cursorOf())
	}
	for i, c := range cursors {
		forged := strings.Replace(c, "history=", "history=0", 1)
		want := 200
		if i < 1 {
			want = 410
		}
		for name, server := range map[string]*harness{"running": h, "restarted": again} {
			if got := server.do("admin", "GET", "/changes?since="+c, nil); got.status != want {
				t.Errorf("%s, cursor %d: %d %s, want %d", name, i, got.status, got.body, want)
			}
			if got := server.do("admin", "GET", "/changes?since="+forged, nil); got.status != 410 {
				t.Errorf("%s, cursor %d with another history: %d", name, i, got.status)
			}
		}
	}
	if err := h.server.Import(crowd(30)); err != nil {
		t.Fatal(err)
	}
	for name, server := range map[string]*harness{"running": h, "restarted": h.twin(few)} {
		server.want(200, "admin", "GET", "/changes?since="+h.cursorOf(), nil)
		if got := server.do("admin", "GET", "/changes?since="+h.cursorOf()+"0", nil); got.status != 410 {
			t.Errorf("%s, after a change larger than the feed: %d", name, got.status)
		}
	}
}

// TestAStoreOfBeforeHistories is read; its versions have none, and its next change begins one.
func TestAStoreOfBeforeHistories(t *testing.T) {
	h := start(t)
	h.rename("before")
	told := h.feed("admin", fmt.Sprintf("%d.1", h.server.Version().Epoch), "")
	h.store.mu.Lock()
	known := regexp.MustCompile(`,"(history|floorHistory)":"[0-9a-f]*"`)
	for key, value := range h.store.pairs {
		h.store.pairs[key] = known.ReplaceAll(value, nil)
	}
	h.store.mu.Unlock()
	old := h.twin()
	if v := old.server.Version(); v.History != "" || v.Number != h.server.Version().Number {
		t.Fatalf("got %+v: the store of before was not made", v)
	}
	if got := old.feed("admin", fmt.Sprintf("%d.1", h.server.Version().Epoch), ""); got != told {
		t.Errorf("the feed tells %q, want %q", got, told)
	}
	// What a gateway was told before: its number, with or without a history.
	for _, since := range []string{h.cursor(), h.cursorOf()} {
		if got := old.feed("admin", since, ""); got != "" {
			t.Errorf("%s: %q", since, got)
		}
	}
	one, two := old.twin(), old.twin()
	one.rename("one")
	two.rename("two")
	if one.server.Version().History == "" {
		t.Error("the first change after it has no history")
	}
	two.want(410, "admin", "GET", "/changes?since="+one.cursorOf(), nil)
}
