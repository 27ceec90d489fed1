package broker_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// What has expired takes no capacity: neither in the queue of a session that stays
// away (3.3.2-5), nor among the retained messages.
func TestExpiredTakesNoCapacity(t *testing.T) {
	t.Parallel()
	second := []byte{2, 0, 0, 0, 1}
	for _, retain := range []byte{0, 1} {
		const limit = 8
		h := start(t, func(o *broker.Options) { o.QueueMessages, o.MaxRetained, o.Overflow = limit, limit, broker.DropNewest })
		if retain == 0 {
			sub := h.connect(kept(5, "sub"))
			sub.Subscribe(1, "#", 1)
			h.offline(sub)
		}
		var pubs []*rawclient.Client // many, because one has only a share
		for i := range limit {
			pubs = append(pubs, h.client(5, fmt.Sprint("pub", i)))
		}
		id := uint16(0)
		publish := func(props ...[]byte) (kept bool) {
			id++
			pub := pubs[id%limit]
			lost := func() uint64 {
				d := h.Stats().Dropped
				return d["session-overflow-newest"] + d["retained-full"]
			}
			before := lost()
			pub.Publish(fmt.Sprint("t/", id), "x", 1, id, retain, props...)
			finish(pub, 1, id)
			return lost() == before
		}
		for i := range limit - 2 {
			if !publish() {
				t.Fatalf("the %dth is lost", i)
			}
		}
		if !publish(second) || !publish([]byte{2, 0, 0, 1, 0}) || publish() {
			t.Fatal("it is not full")
		}
		h.until("one has expired", func() bool { return publish() })
		if publish() {
			t.Error("more than the expired one went")
		}
		if retain == 0 {
			sub := h.connect(kept(5, "sub"))
			for _, d := range drain(sub, limit) {
				if d.Topic == "t/7" {
					t.Errorf("got %+v", d)
				}
			}
			sub.ExpectSilence()
			h.until("all is given back", func() bool { return h.Stats().QueuedBytes == 0 })
		}
	}
}

// startSlow starts a broker that does not answer a publish to "slow" before let is called;
// until then the publisher's connection cannot end. busy is closed once the publish is
// being handled.
func startSlow(t *testing.T) (h *house, busy <-chan struct{}, let func()) {
	t.Helper()
	begun, leave := make(chan struct{}), make(chan struct{})
	let = sync.OnceFunc(func() { close(leave) })
	h = start(t, func(o *broker.Options) {
		o.Services = services(func(_ *principal.Principal, _ string, _ *message.Message, done func(byte)) {
			close(begun)
			<-leave
			done(0)
		})
	})
	t.Cleanup(let)
	h.policy.route = func(name string) message.Route {
		if name == "slow" {
			return message.Route{Handling: message.TwinGet}
		}
		return message.Route{}
	}
	return h, begun, let
}

// A delayed will is void when its session goes on, also when the old connection
// had ended, for whatever reason, and had not left yet.
func TestDelayedWillOfAConnectionThatIsSlowToLeave(t *testing.T) {
	t.Parallel()
	h, busy, let := startSlow(t)
	sub := h.client(5, "sub")
	sub.Subscribe(1, "will/#", 0)
	o := kept(5, "c")
	o.Will = &rawclient.Will{Topic: "will/c", Payload: "x", Props: []byte{24, 0, 0, 0, 30}}
	c := h.connect(o)
	c.Publish("slow", "x", 0, 0, 0)
	<-busy
	if h.Disconnect("user:c", message.ServerBusy, "busy") != 1 {
		t.Error("it was not connected")
	}
	again := h.connect(o)
	let()
	h.until("the old one has left", func() bool { return h.Stats().Connections == 2 })
	sub.ExpectSilence()
	again.ExpectSilence()
	if n := h.WillsPending(); n != 0 {
		t.Errorf("%d wills wait", n)
	}
}
