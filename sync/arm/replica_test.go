package arm_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/sync/replica"
)

// sink keeps what the replica hands over.
type sink struct{ got chan replica.Full }

func (s sink) Replace(_ context.Context, f replica.Full) error { s.got <- f; return nil }

func (s sink) Apply(context.Context, replica.Delta) error { panic("ARM has no feed") }

// following is a replica of ARM behind a faulty proxy, which follows it until the test ends.
type following struct {
	*replica.Replica
	got    chan replica.Full
	health chan replica.Health
}

func follow(t *testing.T, behind http.Handler, fault func(n int, w http.ResponseWriter, r *http.Request) bool) following {
	t.Helper()
	f := following{got: make(chan replica.Full, 10), health: make(chan replica.Health, 10)}
	var err error
	f.Replica, err = replica.New(replica.Options{
		Source: connect(t, proxy(t, behind, fault)), Sink: sink{f.got}, Azure: true, FullEvery: time.Hour,
		MinBackoff: time.Hour, MaxBackoff: time.Hour, ConfirmAfter: time.Nanosecond,
		Health: func(h replica.Health) { f.health <- h },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = f.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return f
}

// ARM shows less to a caller that has lost its right, with 200. What is held stays in force, and
// health says why.
func TestLostRightEmptiesNothing(t *testing.T) {
	for name, lose := range map[string]func(a *azure){
		"everything": func(a *azure) { a.assignments, a.denies, a.definitions = nil, nil, nil },
		"assignments": func(a *azure) {
			a.assignments, a.definitions = nil, nil
		},
		"denials": func(a *azure) { a.denies = nil },
	} {
		t.Run(name, func(t *testing.T) {
			azure := newAzure()
			f := follow(t, azure, nil)
			<-f.got
			if h := <-f.health; h.Code != replica.InStep {
				t.Fatal(h)
			}
			azure.mu.Lock()
			assignments, definitions, denies, permissions := azure.assignments, azure.definitions, azure.denies, azure.permissions
			lose(azure)
			azure.permissions = []object{{"actions": []string{"Microsoft.Devices/*"}}}
			azure.mu.Unlock()
			f.Wake()
			if h := <-f.health; h.Code != replica.RightsLost || !strings.Contains(h.Detail, "azure") {
				t.Error(h)
			}
			azure.mu.Lock()
			azure.assignments, azure.definitions, azure.denies, azure.permissions = assignments, definitions, denies, permissions
			azure.mu.Unlock()
			f.Wake()
			if h := <-f.health; h.Code != replica.InStep {
				t.Error(h)
			}
			if len(f.got) != 1 {
				t.Errorf("%d answers, want the last one alone", len(f.got))
			}
			if again := <-f.got; len(again.Policy.AzureAssignments) != 4 || len(again.Policy.AzureDenies) != 1 {
				t.Errorf("%+v", again.Policy)
			}
		})
	}
}

// Denials that are really gone are gone: the gateway may read them, and they are missing twice.
func TestConfirmedAbsence(t *testing.T) {
	azure := newAzure()
	f := follow(t, azure, nil)
	<-f.got
	<-f.health
	azure.mu.Lock()
	if slices.Contains(azure.asked, "permissions ") {
		t.Error("an ordinary answer was doubted")
	}
	azure.denies = nil
	azure.mu.Unlock()
	f.Wake()
	if again := <-f.got; len(again.Policy.AzureDenies) != 0 || len(again.Policy.AzureAssignments) != 4 {
		t.Errorf("%+v", again.Policy)
	}
}

// A gateway that was never allowed to read is told so, and does not begin with an empty policy.
func TestNeverAllowedToRead(t *testing.T) {
	azure := &azure{permissions: []object{{"actions": []string{}}}}
	f := follow(t, azure, nil)
	if h := <-f.health; h.Code != replica.RightsLost || len(f.got) > 0 {
		t.Error(h, len(f.got))
	}
}

// A server that asks for a long silence is left alone, but an operator's sync is not kept waiting.
func TestHostileRetryAfter(t *testing.T) {
	var mu sync.Mutex
	hostile := true
	f := follow(t, newAzure(), func(_ int, w http.ResponseWriter, _ *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if hostile {
			says(429, "", "Retry-After", "31536000")(w)
		}
		return hostile
	})
	if h := <-f.health; h.Code != "throttled" || !strings.Contains(h.Detail, "5m0s") {
		t.Error(h)
	}
	mu.Lock()
	hostile = false
	mu.Unlock()
	f.Wake()
	if h := <-f.health; h.Code != replica.InStep {
		t.Error(h)
	}
}
