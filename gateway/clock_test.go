package gateway

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/sas"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/sync/replica"
)

const day = 24 * time.Hour

// box is a gateway on a machine whose clocks and power are the test's. It is built and
// nothing of it runs: live is what happens once a second.
type box struct {
	t     *testing.T
	cfg   config.Config
	built time.Time
	wall  time.Time     // the machine's clock, which anybody may set
	up    time.Duration // the machine's monotonic clock
	d     *daemon       // nil while it is off
	end   func() error  // ends the store of d
}

func newBox(t *testing.T, built time.Time) *box {
	t.Helper()
	dir := t.TempDir()
	cfg := config.Default()
	cfg.Instance.Tenant, cfg.Instance.Site, cfg.Instance.Hub.Host = restNum(1), space.Root, "h.example"
	cfg.Listeners = []config.Listener{{Name: "local", Kind: config.KindUnix, Address: filepath.Join(dir, "mqtt.sock"),
		Limits: config.DefaultLimits().ListenerLimits}}
	cfg.State.Dir = config.File(filepath.Join(dir, "state"))
	cfg.Admin.Socket = config.File(filepath.Join(dir, "admin.sock"))
	cfg.Log.Level = "error"
	b := &box{t: t, cfg: cfg, built: built}
	t.Cleanup(b.kill)
	return b
}

// boot starts it with the machine's clock at wall.
func (b *box) boot(wall time.Time) {
	b.t.Helper()
	b.wall = wall
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	b.d, err = build(b.cfg, Options{
		Built:   b.built,
		Stderr:  null,
		Now:     func() time.Time { return b.wall },
		Elapsed: func() time.Duration { return b.up },
	})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.d.store.Run(ctx) }()
	b.end = func() error { cancel(); return <-ended }
}

// live lets time pass, second by second.
func (b *box) live(for_ time.Duration) {
	for range int(for_ / time.Second) {
		b.wall, b.up = b.wall.Add(time.Second), b.up+time.Second
		b.d.staging.Tick(b.d.keeper.Keep)
	}
}

// kill ends it without a farewell.
func (b *box) kill() {
	if b.d == nil {
		return
	}
	if err := errors.Join(b.d.doors.all.Close(), b.end(), b.d.store.Close()); err != nil {
		b.t.Error(err)
	}
	b.d = nil
}

var boxKey = device.Secret("the key of the box's device, 32 bytes at least")

// learn is the cloud's word: one device, "d1".
func (b *box) learn() {
	b.t.Helper()
	full := replica.Full{Version: model.Version{Epoch: 1, Number: 1}}
	full.Policy = model.Snapshot{Version: full.Version, Roles: model.SystemRoles()}
	full.Data = device.Data{
		Spaces: []device.Space{{ID: restNum(2), Name: "b", Path: space.Root.Join(restNum(2))}},
		Devices: []device.Device{{ID: restNum(20), HubID: "d1", Name: "d1", HardwareID: "D1", Space: restNum(2),
			Status: device.Active, Auth: device.Auth{Kind: device.AuthSAS, Primary: boxKey}}},
	}
	if err := b.d.policy.Replace(b.t.Context(), full); err != nil {
		b.t.Fatal(err)
	}
}

// accepts tells whether d1 may connect with a token that ends at a time.
func (b *box) accepts(end time.Time) bool {
	b.t.Helper()
	token := sas.Issue(sas.Device("h.example", "d1"), boxKey, end)
	_, err := b.d.identity.Authenticate(b.t.Context(), &principal.Credentials{
		PeerUID:  -1,
		ClientID: "d1",
		Username: "h.example/d1/?api-version=2021-04-12",
		HasUser:  true,
		Password: []byte(token),
		HasPass:  true,
	})
	var refused *principal.Refusal
	if errors.As(err, &refused) && refused.Reason != "expired" || err != nil && refused == nil {
		b.t.Fatal(err)
	}
	return err == nil
}

// stamp makes the message store a witness, as each record of a deployment does.
func (b *box) stamp() {
	b.t.Helper()
	stored := make(chan error, 1)
	b.d.keeper.Record(func(err error) { stored <- err })
	if err := <-stored; err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) warning(name string) health.Warning {
	all := b.d.health.Report().Warnings
	if i := slices.IndexFunc(all, func(w health.Warning) bool { return w.Name == name }); i >= 0 {
		return all[i]
	}
	return health.Warning{}
}

// A box lives for 75 s, loses its power, and starts with a clock that is 300 days back and
// without a cloud: a token that ended 60 days ago is not accepted. Each of the witnesses
// of the time is enough; without any of them the token would be good.
func TestPowerCutAndAClockSetBackMakeNoOldTokenGood(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name               string
		taken, built       time.Duration // before now
		keepClock, stamped bool
		accepted           bool
		least, most        time.Duration // after now: the mark is in between
	}{
		{"no witness", 100 * day, 400 * day, false, false, true, -100 * day, -99 * day},
		{"the stored mark", 100 * day, 400 * day, true, false, false, time.Minute, 75 * time.Second},
		{"the policy", 0, 400 * day, false, false, false, 0, 75 * time.Second},
		{"a record of the message store", 100 * day, 400 * day, false, true, false, 75 * time.Second, 75 * time.Second},
		{"the build", 100 * day, 59 * day, false, false, false, -59 * day, -59 * day},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t, now.Add(-c.built))
			b.boot(now.Add(-c.taken))
			b.learn()
			b.wall = now
			b.d.clock.ReportCloudTime(now, 1) // the machine's clock agrees
			b.live(75 * time.Second)
			if c.stamped {
				b.stamp()
			}
			ended := now.Add(-60 * day)
			if b.accepts(ended) || !b.accepts(now.Add(day)) {
				t.Fatal("the token is not judged by the time")
			}
			b.kill()
			if !c.keepClock {
				if err := os.Remove(filepath.Join(string(b.cfg.State.Dir), "clock")); err != nil {
					t.Fatal(err)
				}
			}
			b.boot(now.Add(-300 * day))
			if got := b.accepts(ended); got != c.accepted {
				t.Errorf("accepted %v, want %v; the mark is %v", got, c.accepted, b.d.clock.Mark())
			}
			if m := b.d.clock.Mark(); m.Before(now.Add(c.least)) || m.After(now.Add(c.most)) {
				t.Errorf("the mark is %v", m)
			}
		})
	}
}

// A box that is switched off every 75 s, without a cloud and with a clock that stands at
// the same day at each start, ages as if it had never been switched off.
func TestBoxThatIsSwitchedOffOftenAges(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	b := newBox(t, now.Add(-day))
	b.boot(now)
	b.learn()
	const starts = 5
	for range starts {
		b.live(75 * time.Second)
		b.kill()
		b.boot(now)
	}
	if age := b.d.staging.Age(); age < starts*time.Minute || age > starts*75*time.Second {
		t.Errorf("after %d times 75 s it is %v old", starts, age)
	}
}

// The cloud's last word, which may have changed nothing, counts over a restart: a policy
// that was taken 40 days ago and confirmed a minute ago is fresh.
func TestLastWordOfTheCloudSurvivesARestart(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	b := newBox(t, now.Add(-day))
	b.boot(now)
	b.learn()
	b.wall = now.Add(40 * day)
	b.d.clock.ReportCloudTime(b.wall, 1)
	b.live(time.Second)
	if s := b.d.staging.Stage(); s != offline.Expired {
		t.Fatalf("after 40 days: %v", s)
	}
	b.d.heard()
	b.live(2 * time.Minute)
	b.kill()
	b.boot(b.wall)
	if s, age := b.d.staging.Stage(), b.d.staging.Age(); s != offline.Fresh || age > 3*time.Minute {
		t.Errorf("%v, %v old", s, age)
	}
}

// The cloud's first word is stored at once: a power cut a moment later does not take the
// time back that it stated.
func TestFirstWordOfTheCloudIsStored(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	b := newBox(t, now.Add(-day))
	b.boot(now)
	b.learn()
	b.kill()
	b.boot(now)
	stated := now.Add(20 * time.Hour)
	b.d.clock.ReportCloudTime(stated, 1)
	b.d.heard()
	b.kill()
	b.boot(now)
	if m := b.d.clock.Mark(); m.Before(stated) {
		t.Errorf("the mark is %v, the cloud said %v", m, stated)
	}
	if age := b.d.staging.Age(); age != 0 {
		t.Errorf("the policy that the cloud confirmed is %v old", age)
	}
}

// A stage that was reached is stored at once: the minute that a power cut takes from the
// mark takes no stage back.
func TestStageIsNotTakenBackByAPowerCut(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	b := newBox(t, now.Add(-day))
	b.cfg.Offline.Stale += 30 * time.Second // in the middle of a minute
	b.boot(now)
	b.learn()
	b.live(b.cfg.Offline.Stale)
	if s := b.d.staging.Stage(); s != offline.Stale {
		t.Fatalf("%v, %v old", s, b.d.staging.Age())
	}
	b.kill()
	b.boot(now)
	if s := b.d.staging.Stage(); s != offline.Stale {
		t.Errorf("%v, %v old", s, b.d.staging.Age())
	}
}

// One boot with a clock in 2090 locks nobody out for good: a first start does not believe
// it, a later one does not store it, and where it was believed because the cloud said the
// same, an operator's reset holds over restarts, whichever records say otherwise.
func TestClockIn2090LocksNobodyOutForGood(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	wrong := time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, first := range map[string]time.Time{"the first boot": wrong, "a later boot": now} {
		b := newBox(t, now.Add(-day))
		b.boot(first)
		b.live(75 * time.Second)
		b.kill()
		b.boot(wrong)
		b.live(75 * time.Second)
		b.stamp()
		b.kill()
		b.boot(now)
		b.learn()
		if !b.accepts(now.Add(day)) {
			t.Errorf("%s: a good token is refused, the mark is %v", name, b.d.clock.Mark())
		}
	}
	for _, lost := range []string{"", "clock"} {
		b := newBox(t, now.Add(-day))
		b.boot(wrong)
		b.d.clock.ReportCloudTime(wrong, 1)
		b.learn()
		b.live(75 * time.Second)
		b.stamp()
		b.wall = now
		if b.accepts(now.Add(day)) {
			t.Fatal("the time that was believed does not decide")
		}
		if _, err := b.d.resetClock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if lost != "" {
			b.stamp() // the watchdog's, within seconds
		}
		for range 2 {
			b.kill()
			if lost != "" {
				if err := os.Remove(filepath.Join(string(b.cfg.State.Dir), lost)); err != nil {
					t.Fatal(err)
				}
			}
			b.boot(now)
			if !b.accepts(now.Add(day)) || b.d.clock.Mark().After(now.Add(time.Minute)) {
				t.Errorf("without %q: a good token is refused, the mark is %v", lost, b.d.clock.Mark())
			}
			if age := b.d.staging.Age(); age > time.Minute {
				t.Errorf("without %q: %v old", lost, age)
			}
		}
		b.live(time.Hour)
		if age := b.d.staging.Age(); age < time.Hour {
			t.Errorf("without %q: an hour later the policy from the future is %v old", lost, age)
		}
	}
}

// A clock that was never set, or that is behind what is known, keeps nothing from
// starting: the latest time that is known decides, health fails, and it ends by itself.
func TestClockBelowTheFloorIsSaidAndMends(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for name, wall := range map[string]time.Time{
		"1970":          time.Unix(0, 0),
		"two hours ago": now.Add(-2 * time.Hour),
	} {
		b := newBox(t, now.Add(-day))
		b.boot(now)
		b.learn()
		b.kill()
		b.boot(wall)
		if w := b.warning("system-clock"); w.Severity != health.Failing || w.Text == "" {
			t.Errorf("%s: health says %+v", name, w)
		}
		if b.accepts(now.Add(-time.Minute)) || !b.accepts(now.Add(time.Hour)) {
			t.Errorf("%s: %v decides", name, b.d.clock.Now())
		}
		b.live(time.Minute)
		if m := b.d.clock.Mark(); !m.Equal(now.Add(time.Minute)) {
			t.Errorf("%s: after a minute the mark is %v", name, m)
		}
		b.wall = now.Add(time.Minute)
		b.live(time.Second)
		if w := b.warning("system-clock"); w.Text != "" {
			t.Errorf("%s: with the clock set, health says %+v", name, w)
		}
		b.kill()
	}
}
