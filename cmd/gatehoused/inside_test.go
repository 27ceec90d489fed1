package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse/gatehouse/cmd/internal/e2e"
	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/gateway"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/freeport"
	"github.com/gatehouse/gatehouse/gateway/upstream/mqttconn/leaktest"
)

// inside runs the daemon in this process, for what a process of its own
// cannot be given: a clock, and a disk that fills up by itself.
type inside struct {
	*e2e.Gateway
	log   string
	ahead atomic.Int64  // how far its clock is ahead of ours
	free  atomic.Uint64 // what its disk has left; 0: as much as there is

	cancel context.CancelFunc
	done   chan error
}

// leaves fails the test if a goroutine that begins in it outlives it.
func leaves(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := leaktest.Find(before); err != nil {
			t.Error(err)
		}
	})
}

func (in *inside) run(t *testing.T) {
	t.Helper()
	cfg, problems := config.Load(in.File)
	if problems = gateway.CheckAll(&cfg, problems); len(problems) > 0 {
		t.Fatal(problems)
	}
	in.log = filepath.Join(in.Dir, "log")
	f, err := os.OpenFile(in.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	in.cancel, in.done = cancel, make(chan error, 1)
	go func() {
		defer func() { _ = f.Close() }()
		in.done <- gateway.Run(ctx, cfg, gateway.Options{Version: "test", Stderr: f,
			Now: func() time.Time { return time.Now().Round(0).Add(time.Duration(in.ahead.Load())) },
			Free: func(string) (uint64, error) {
				if n := in.free.Load(); n > 0 {
					return n, nil
				}
				return 1 << 40, nil
			}})
	}()
	t.Cleanup(func() {
		in.cancel()
		if t.Failed() {
			t.Logf("the daemon wrote:\n%s", e2e.Tail(read(t, in.log), 30))
		}
	})
}

func (in *inside) stop(t *testing.T) {
	t.Helper()
	in.cancel()
	select {
	case err := <-in.done:
		if err != nil {
			t.Errorf("Run ended with %v", err)
		}
	case <-time.After(e2e.Patience):
		t.Fatal("Run does not end")
	}
}

func (in *inside) stage(t *testing.T, want string) {
	t.Helper()
	e2e.Eventually(t, "the stage is "+want, func() error {
		s, err := in.Status()
		if err == nil && s.Cache.Stage != want {
			err = fmt.Errorf("it is %s, %v old", s.Cache.Stage, time.Duration(s.Cache.AgeSeconds)*time.Second)
		}
		return err
	})
}

// TestOfflineStages: a building without its cloud, through all stages: what goes on, what stops, and that
// a session that was there from the beginning ends with the last stage. Nothing outlives the daemon.
func TestOfflineStages(t *testing.T) {
	leaves(t)
	in := &inside{Gateway: house.NewGateway(t, e2e.Settings{})}
	in.run(t)
	in.Synced(t)
	in.stop(t)
	nobody, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	in.Write(t, strings.Replace(read(t, in.File), "url: "+house.URL("/management"),
		fmt.Sprintf("url: https://localhost:%d/management", nobody), 1))
	in.run(t)
	in.stage(t, "fresh")
	here := in.Sub(t, in.Device("thermostat-101"), "devices/thermostat-101/messages/devicebound/#")
	publish := func() error {
		_, err := in.Pub(in.Device("ups-1").Five(), site.Telemetry("ups-1", "ups-1-charge"), "1")
		return err
	}
	for _, c := range []struct {
		ahead time.Duration
		stage string
		open  bool
	}{
		{59 * time.Minute, "fresh", true}, {61 * time.Minute, "stale", true}, {71 * time.Hour, "stale", true},
		{73 * time.Hour, "restricted", true}, {29 * 24 * time.Hour, "restricted", true}, {31 * 24 * time.Hour, "expired", false},
	} {
		in.ahead.Store(int64(c.ahead))
		in.stage(t, c.stage)
		if err := publish(); (err == nil) != c.open {
			t.Errorf("after %v (%s) a publish ends with %v", c.ahead, c.stage, err)
		}
		if s, err := in.Status(); c.open && (err != nil || s.Sessions.ByKind["device"] == 0) {
			t.Errorf("after %v (%s) the session that was there is gone (%v)", c.ahead, c.stage, err)
		}
	}
	e2e.Eventually(t, "the session that was there is ended", func() error {
		s, err := in.Status()
		if err == nil && s.Sessions.Connected > 0 {
			err = fmt.Errorf("%d connected", s.Sessions.Connected)
		}
		return err
	})
	here.Kill()
	in.stop(t)
	text := read(t, in.log)
	for _, stage := range []string{"stale", "restricted", "expired"} {
		if !strings.Contains(text, `"event":"stage","allowed":true,"reason":"`+stage+`"`) {
			t.Errorf("the change to %s is not in the audit", stage)
		}
	}
}

// TestNoFreeSpace: a disk fills up and has free space again; the free space that the daemon sees is injected.
func TestNoFreeSpace(t *testing.T) {
	leaves(t)
	in := &inside{Gateway: house.NewGateway(t, e2e.Settings{Sections: uplinkTo(1) + "outbox: {refuseAfter: 1s}\n"})}
	in.run(t)
	in.Synced(t)
	topic := site.Telemetry("ups-1", "ups-1-load")
	in.MustPub(t, in.Device("ups-1").Five(), topic, "room")
	in.free.Store(15 << 20)
	if out, err := in.Pub(in.Device("ups-1").Five(), topic, "none"); err == nil || !strings.Contains(out, "Quota exceeded") {
		t.Errorf("MQTT 5: %v %q, want 0x97", err, out)
	}
	if out, err := in.Pub(in.Device("ups-1"), topic, "none"); err == nil {
		t.Errorf("MQTT 3.1.1 was acknowledged: %q", out)
	}
	in.free.Store(0)
	e2e.Eventually(t, "it recovers by itself", func() error {
		_, err := in.Pub(in.Device("ups-1"), topic, "room again")
		return err
	})
	in.stop(t)
}
