package broker

import (
	"context"
	"strconv"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/plane"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// sys publishes the $SYS topics until ctx ends, not retained, with the gateway as publisher. Receivers
// need the right to read them, as for any other topic (docs/spec/semantics.md 3.3). Before
// each round it drops what has expired in sessions and in the retained store.
func (b *Broker) sys(ctx context.Context) {
	self := &principal.Principal{Kind: principal.Gateway, Key: "gateway", Name: "gateway"}
	started := time.Now()
	tick := time.NewTicker(b.o.SysInterval)
	defer tick.Stop()
	for {
		now := time.Now()
		for _, s := range b.store.All() {
			s.Expire(now)
		}
		b.plane.ExpireRetained(now)
		st := b.Stats()
		for _, v := range []struct {
			topic string
			value uint64
		}{
			{"$SYS/broker/uptime", uint64(time.Since(started) / time.Second)},
			{"$SYS/broker/clients/connected", uint64(st.Connections)},
			{"$SYS/broker/clients/total", uint64(st.Sessions)},
			{"$SYS/broker/subscriptions", uint64(st.Subscriptions)},
			{"$SYS/broker/retained", uint64(st.Retained)},
			{"$SYS/broker/messages/received", st.Received},
			{"$SYS/broker/messages/sent", st.Delivered},
			{"$SYS/broker/messages/denied", st.Denied},
			{"$SYS/broker/bytes/received", st.BytesIn},
			{"$SYS/broker/bytes/sent", st.BytesOut},
		} {
			b.plane.Publish(plane.Source{}, &message.Message{ID: b.nextID.Add(1), Topic: v.topic, Publisher: self, Accepted: time.Now(),
				Payload: []byte(strconv.FormatUint(v.value, 10))}, nil)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
