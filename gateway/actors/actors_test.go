package actors

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
)

type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(s string) {
	j.mu.Lock()
	j.lines = append(j.lines, s)
	j.mu.Unlock()
}

func (j *journal) actor(name string) Actor {
	ready := make(chan struct{})
	return Actor{Name: name, Ready: ready, Run: func(ctx context.Context) error {
		j.add("+" + name)
		close(ready)
		<-ctx.Done()
		j.add("-" + name)
		return ctx.Err()
	}}
}

func TestActorsStopInReverseOrder(t *testing.T) {
	var j journal
	ctx, cancel := context.WithCancel(context.Background())
	err := Run(ctx, slog.New(slog.DiscardHandler), []Actor{j.actor("store"), j.actor("broker"), j.actor("admin")}, cancel)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"+store", "+broker", "+admin", "-admin", "-broker", "-store"}
	if !slices.Equal(j.lines, want) {
		t.Fatalf("order %v, want %v", j.lines, want)
	}
}

func TestActorThatEndsStopsTheRest(t *testing.T) {
	for _, cause := range []error{errors.New("disk gone"), nil} {
		var j journal
		failing := Actor{Name: "pump", Run: func(context.Context) error { return cause }}
		err := Run(context.Background(), slog.New(slog.DiscardHandler), []Actor{j.actor("store"), failing}, func() {})
		if err == nil || !strings.Contains(err.Error(), "pump") {
			t.Fatalf("err = %v, want it to name the part", err)
		}
		if cause != nil && !errors.Is(err, cause) {
			t.Fatalf("err = %v, want %v", err, cause)
		}
		if !slices.Equal(j.lines, []string{"+store", "-store"}) {
			t.Fatalf("the rest was not stopped: %v", j.lines)
		}
	}
}

func TestActorsNotStartedAfterAFailure(t *testing.T) {
	var j journal
	failing := Actor{Name: "store", Ready: make(chan struct{}), Run: func(context.Context) error { return errors.New("no disk") }}
	if err := Run(context.Background(), slog.New(slog.DiscardHandler), []Actor{failing, j.actor("broker")},
		func() { t.Error("up") }); err == nil {
		t.Fatal("no error")
	}
	if len(j.lines) != 0 {
		t.Fatalf("started %v after the failure", j.lines)
	}
}
