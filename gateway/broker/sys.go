package broker

import (
	"context"
	"strconv"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/plane"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// The $SYS topics have the names that mosquitto gave them, because dashboards and exporters look for
// those. They behave as retained messages do: a new subscription gets the present values. But they
// are in no store: a value is made when somebody who may read it subscribes, or when SysInterval is
// over and somebody is subscribed. Receivers need the right to read them, as for any other topic
// (docs/spec/semantics.md 3.3).
//
// Messages are PUBLISH packets: the other packets are not counted, and so messages/… and
// publish/messages/… are the same.

// figures is what the values of one round are made of.
type figures struct {
	Stats
	b         *Broker
	up        time.Duration
	connected int // sessions that have a connection
	dropped   uint64
}

// sysTopics lists the topics below $SYS/broker/ but those of load, with their values.
var sysTopics = []struct {
	name  string
	value func(*figures) string
}{
	{"version", func(f *figures) string { return "gatehouse version " + f.b.o.Version }},
	{"uptime", func(f *figures) string { return strconv.FormatInt(int64(f.up/time.Second), 10) + " seconds" }},
	{"clients/connected", func(f *figures) string { return strconv.Itoa(f.connected) }},
	{"clients/disconnected", func(f *figures) string { return strconv.Itoa(f.Sessions - f.connected) }},
	{"clients/total", func(f *figures) string { return strconv.Itoa(f.Sessions) }},
	{"messages/received", func(f *figures) string { return decimal(f.Received) }},
	{"messages/sent", func(f *figures) string { return decimal(f.Delivered) }},
	{"messages/denied", func(f *figures) string { return decimal(f.Denied) }},
	{"publish/messages/received", func(f *figures) string { return decimal(f.Received) }},
	{"publish/messages/sent", func(f *figures) string { return decimal(f.Delivered) }},
	{"publish/messages/dropped", func(f *figures) string { return decimal(f.dropped) }},
	{"bytes/received", func(f *figures) string { return decimal(f.BytesIn) }},
	{"bytes/sent", func(f *figures) string { return decimal(f.BytesOut) }},
	{"subscriptions/count", func(f *figures) string { return strconv.Itoa(f.Subscriptions) }},
	{"retained messages/count", func(f *figures) string { return strconv.Itoa(f.Retained) }},
	{"store/messages/count", func(f *figures) string { return strconv.Itoa(f.Queued) }},
	{"store/messages/bytes", func(f *figures) string { return strconv.FormatInt(f.QueuedBytes, 10) }},
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// sys publishes the $SYS topics that somebody is subscribed to, every SysInterval until ctx ends.
// Before each round it drops what has expired in sessions and in the retained store.
func (b *Broker) sys(ctx context.Context) {
	tick := time.NewTicker(b.o.SysInterval)
	defer tick.Stop()
	for {
		now := time.Now()
		for _, s := range b.store.All() {
			s.Expire(now)
		}
		b.plane.ExpireRetained(now)
		b.averages.sample(now, b.loadTotals())
		if b.plane.Reads("$SYS") {
			b.plane.Renewed()
			for _, m := range b.sysMessages(b.plane.Heard) {
				b.plane.Publish(plane.Source{}, m, nil)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sysMessages makes the $SYS messages that want accepts by topic and publisher. What they are made of
// is looked up only if there is one.
func (b *Broker) sysMessages(want func(*message.Message) bool) (list []*message.Message) {
	now := time.Now()
	wanted := func(name string) *message.Message {
		m := &message.Message{Topic: "$SYS/broker/" + name, Publisher: gatewayItself, Accepted: now}
		if !want(m) {
			return nil
		}
		m.ID = b.nextID.Add(1)
		list = append(list, m)
		return m
	}
	var f *figures
	for i := range sysTopics {
		if m := wanted(sysTopics[i].name); m != nil {
			if f == nil {
				f = b.figures(now)
			}
			m.Payload = []byte(sysTopics[i].value(f))
		}
	}
	for i, of := range loadNames {
		for j, over := range loadOver {
			if m := wanted("load/" + of + "/" + over.name); m != nil {
				m.Payload = strconv.AppendFloat(nil, b.averages.value(i, j), 'f', 2, 64)
			}
		}
	}
	return list
}

// gatewayItself is the publisher of the $SYS messages.
var gatewayItself = &principal.Principal{Kind: principal.Gateway, Key: "gateway", Name: "gateway"}

func (b *Broker) figures(now time.Time) *figures {
	f := &figures{Stats: b.Stats(), b: b, up: now.Sub(b.started)}
	for _, s := range b.store.All() {
		if s.Connected() {
			f.connected++
		}
	}
	for _, n := range f.Dropped {
		f.dropped += n
	}
	return f
}
