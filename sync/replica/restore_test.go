package replica_test

import (
	"net/http"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/sync/management"
	"github.com/gatehouse/gatehouse/sync/replica"
)

// backup is a copy of what a store holds now.
func backup(t *testing.T, from *management.MemoryStore) *management.MemoryStore {
	t.Helper()
	to := management.NewMemoryStore()
	if err := from.Load(func(key string, value []byte) error {
		return to.Commit([]management.Op{{Key: key, Value: value}})
	}); err != nil {
		t.Fatal(err)
	}
	return to
}

func (w *world) grants(id string) bool {
	w.copy.mu.Lock()
	defer w.copy.mu.Unlock()
	for _, a := range w.copy.full.Policy.Assignments {
		if a.ID.String() == id {
			return true
		}
	}
	return false
}

func (w *world) must(status int, method, path, body string) string {
	w.Helper()
	got, text := w.do(method, path, body)
	if got != status {
		w.Fatalf("%s %s: %d %s", method, path, got, text)
	}
	return text
}

// TestARestoredServerIsNoticed: a copy of the server's store of before some changes is put
// back, and as many other changes are made as were lost. The numbers are then the same, and
// the gateway, asked for nothing but its cursor, would keep what the cloud does not have.
func TestARestoredServerIsNoticed(t *testing.T) {
	w := newWorld(t)
	at := func(user int) string {
		return `{"roleId":"` + model.SupportSpecialistRole + `","objectIdType":"UserId","tenantId":"` + home.String() +
			`","objectId":"` + num(user).String() + `","path":"` + site.String() + `"}`
	}
	kept := w.must(http.StatusCreated, "POST", "/roleassignments", at(903))
	old := backup(t, w.store)
	lost := w.must(http.StatusCreated, "POST", "/roleassignments", at(904))
	w.catchUp()
	if !w.grants(kept) || !w.grants(lost) {
		t.Fatal("the gateway does not hold what the cloud granted")
	}
	fulls := w.r.Status().Fulls
	before := w.server.Version()

	restored := serverOn(t, old)
	w.server = restored // for do; the gateway's address follows below
	made := w.must(http.StatusCreated, "POST", "/roleassignments", at(905))
	if now := restored.Version(); now.Epoch != before.Epoch || now.Number != before.Number || now.History == before.History {
		t.Fatalf("before %+v, restored %+v: want one number and two histories", before, now)
	}
	w.become(restored)
	w.catchUp()
	if w.grants(lost) || !w.grants(kept) || !w.grants(made) {
		t.Error("the gateway holds what the restored cloud does not have")
	}
	if got := w.r.Status(); got.Fulls != fulls+1 || got.Health.Code != replica.InStep {
		t.Errorf("%d full reads, then %+v: want one more", fulls, got)
	}
	// A revocation is followed live again, by the feed.
	w.must(http.StatusNoContent, "DELETE", "/roleassignments/"+kept, "")
	w.catchUp()
	if w.grants(kept) || w.r.Status().Fulls != fulls+1 {
		t.Errorf("the revocation did not come by the feed: %+v", w.r.Status())
	}
}

// TestAnotherHistoryIsSaid: health names why everything is read again.
func TestAnotherHistoryIsSaid(t *testing.T) {
	var said []replica.Code
	w := newWorld(t, func(o *replica.Options) { o.Health = func(h replica.Health) { said = append(said, h.Code) } })
	old := backup(t, w.store)
	space := `{"name":"x","parentSpaceId":"` + site.Space().String() + `"}`
	w.must(http.StatusCreated, "POST", "/spaces", space)
	w.catchUp()
	w.server = serverOn(t, old)
	w.must(http.StatusCreated, "POST", "/spaces", space)
	w.become(w.server)
	w.catchUp()
	w.stop()
	want := []replica.Code{replica.InStep, replica.Rewritten, replica.InStep}
	if len(said) != len(want) || said[1] != want[1] {
		t.Errorf("health said %v, want %v", said, want)
	}
}
