package access

import (
	"fmt"
	"sync"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/message"
)

func hotWorld(t tb) (*Control, *Rights, *Rights, *message.Message) {
	w := newWorld(t)
	w.assign(deviceIdentity(1), model.GatewayDeviceRole, room1Path)
	w.assign(userIdentity(0x31), model.UserRole, floor1Path)
	m := w.open()
	reading := from(devicePrincipal(1, "dev1"), "spaces"+room1Path.String()+"/devices/dev1/events")
	reading.Via.Topic = hotTopic
	return m, m.Open(devicePrincipal(1, "dev1")), m.Open(userPrincipal(0x31)), reading
}

const hotTopic = "devices/dev1/messages/events/DigitalTwins-SensorHardwareId=temp1&$.ct=application%2Fjson"

// A question that a session repeats allocates nothing. Its first time allocates the route
// (properties, mirror topic) and the cache entry.
func TestHotPathAllocations(t *testing.T) {
	_, dev1, user, reading := hotWorld(t)
	m := &message.Message{}
	if n := testing.AllocsPerRun(200, func() {
		if !dev1.Publish(hotTopic, m).Allowed || !user.Deliver(reading) || !user.Connect().Allowed {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("a repeated publish and delivery: %v allocations", n)
	}
	d := decider{env: dev1.control.env(), p: dev1.p}
	if n := testing.AllocsPerRun(200, func() {
		if !d.publishVerdict(hotTopic, m).Allowed {
			t.Fatal("refused")
		}
	}); n > 3 {
		t.Errorf("a new publish: %v allocations, want at most 3", n)
	}
}

func BenchmarkPublishRemembered(b *testing.B) {
	_, dev1, _, _ := hotWorld(b)
	m := &message.Message{}
	b.ReportAllocs()
	for b.Loop() {
		dev1.Publish(hotTopic, m)
	}
}

func BenchmarkPublishNew(b *testing.B) {
	_, dev1, _, _ := hotWorld(b)
	d := decider{env: dev1.control.env(), p: dev1.p}
	b.ReportAllocs()
	for b.Loop() {
		d.publishVerdict(hotTopic, nil)
	}
}

func BenchmarkDeliverRemembered(b *testing.B) {
	_, _, user, reading := hotWorld(b)
	b.ReportAllocs()
	for b.Loop() {
		user.Deliver(reading)
	}
}

func BenchmarkDeliverNew(b *testing.B) {
	_, _, user, reading := hotWorld(b)
	d := decider{env: user.control.env(), p: user.p}
	b.ReportAllocs()
	for b.Loop() {
		d.deliverOutcome(reading)
	}
}

func BenchmarkSubscribe(b *testing.B) {
	_, _, user, _ := hotWorld(b)
	filter := "spaces" + floor1Path.String() + "/#"
	b.ReportAllocs()
	for b.Loop() {
		user.Subscribe(filter)
	}
}

// Topics that never repeat must not fill a session's memory.
func TestCacheIsBounded(t *testing.T) {
	_, dev1, user, reading := hotWorld(t)
	for i := range 3 * maxDelivered {
		if !dev1.Publish(fmt.Sprintf("devices/dev1/messages/events/n=%d", i), nil).Allowed {
			t.Fatal("refused")
		}
		other := *reading
		other.Via.Topic = fmt.Sprintf("devices/dev1/messages/events/n=%d", i)
		if !user.Deliver(&other) {
			t.Fatal("not delivered")
		}
	}
	if n := len(dev1.state.Load().cache.publishes); n > maxPublished {
		t.Errorf("%d publishes remembered", n)
	}
	if n := len(user.state.Load().cache.delivers); n > maxDelivered {
		t.Errorf("%d deliveries remembered", n)
	}
}

// Questions are asked while rights are granted and revoked, under the race detector. A question
// that begins after a revocation is in force is refused (attack class 22).
func TestRevocationRacesQuestions(t *testing.T) {
	w := newWorld(t)
	w.assign(deviceIdentity(1), model.GatewayDeviceRole, room1Path)
	engine := &swapped{}
	engine.set(w)
	o := w.options()
	o.Facts = engine.facts
	m := New(o)
	user := m.Open(userPrincipal(0x31))
	reading := from(devicePrincipal(1, "dev1"), "spaces"+room1Path.String()+"/devices/dev1/events")
	reading.Via.Topic = hotTopic

	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					user.Deliver(reading)
					user.Subscribe("spaces" + room1Path.String() + "/#")
				}
			}
		})
	}
	for i := range 200 {
		grant := w.assign(userIdentity(0x31), model.UserRole, room1Path)
		engine.set(w)
		if !user.Deliver(reading) {
			t.Fatal("round", i, ": granted and not delivered")
		}
		w.revoke(grant)
		if i%10 == 0 {
			w.data.Devices[1].Status = []device.Status{device.Active, device.Offline}[i/10%2]
			w.rebuild()
		}
		engine.set(w)
		if user.Deliver(reading) || user.Subscribe("spaces"+room1Path.String()+"/#").Allowed {
			t.Fatal("round", i, ": revoked and still delivered")
		}
	}
	close(stop)
	readers.Wait()
}
