package broker_test

import (
	"fmt"
	"net"
	"syscall"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/broker/internal/wire"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// B33: what was written before a close arrives, though the peer has sent what
// nobody will read. Closing a socket with unread input resets it, and the kernel
// throws away what it has not delivered: here most of it, because the peer's
// buffer is tiny and it reads late.
func TestB33FarewellArrives(t *testing.T) {
	t.Parallel()
	h := start(t)
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 2048) })
	}}
	nc, err := d.Dial("tcp", h.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	c := &wire.Client{T: t, Conn: nc}
	c.Connect(wire.Connect{Level: 5, ID: "late", User: "late"})
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
