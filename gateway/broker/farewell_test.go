package broker_test

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// B33: what the broker wrote before it closed the connection arrives, although the peer has
// sent input that is not read. Closing a socket with unread input resets it, and the kernel
// then discards what it has not delivered: here that would be most of it, because the peer's
// buffer is tiny and it reads late.
func TestB33FarewellArrives(t *testing.T) {
	t.Parallel()
	h := start(t)
	c := h.lateReader()
	c.Connect(rawclient.Connect{Level: 5, ID: "late", User: "late"})
	c.Subscribe(1, "a", 0)
	self := &principal.Principal{Kind: principal.Gateway, Key: "gateway"}
	const n = 12
	sent := h.Stats().BytesOut
	for i := range n {
		h.Publish(&message.Message{Topic: "a", Payload: fmt.Appendf(make([]byte, 1000), "%d", i), Publisher: self}, nil)
	}
	h.until("the kernel has it all", func() bool { return h.Stats().BytesOut >= sent+n*1000 })
	c.Put(0xf1, 0)                  // AUTH with flags that it may not have
	c.Put(make([]byte, 256<<10)...) // and much that nobody will read
	h.until("the gateway has left", func() bool { return h.Stats().Connections == 0 })
	seen := c.ExpectClosed()
	if len(seen) != n+1 {
		t.Fatalf("%d of %d arrived", len(seen), n+1)
	}
	if last := seen[n]; last.Type() != 14 || last.Body[0] != 0x81 {
		t.Errorf("the last is %s", last)
	}
}

// lateReader dials with a tiny receive buffer: what is not read stays with the gateway's kernel.
func (h *house) lateReader() *rawclient.Client {
	h.t.Helper()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 2048) })
	}}
	nc, err := d.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = nc.Close() })
	return &rawclient.Client{T: h.t, Conn: nc}
}

// Many connections that are in the middle of writing something revoked are
// given the same moment to finish, not one each: a revocation does not wait
// longer for more of them.
func TestManyWritersDelayNoRevocation(t *testing.T) {
	t.Parallel()
	h := start(t, func(o *broker.Options) { o.Listeners[0].Limits.RatePerAddress, o.Stall = 1e6, time.Millisecond })
	const n = 300
	for i := range n {
		c := h.lateReader()
		id := fmt.Sprint("c", i)
		c.Connect(rawclient.Connect{Level: 5, ID: id, User: id})
		c.Subscribe(1, "a", 0)
	}
	self := &principal.Principal{Kind: principal.Gateway, Key: "gateway"}
	big := make([]byte, 60<<10)
	for last, now := uint64(1), uint64(0); now != last; { // until nobody takes any more
		h.Publish(&message.Message{Topic: "a", Payload: big, Publisher: self}, nil)
		last, now = now, h.Stats().Delivered
	}
	h.policy.change(func(p *policy) { p.read["*"] = nil })
	r, err := h.Recheck(context.Background(), everyone)
	if err != nil || r.WaitedWriters < n/2 || r.Took > time.Duration(r.WaitedWriters)*12*time.Millisecond { // each in turn: 25 ms for each
		t.Errorf("%+v %v", r, err)
	}
}
