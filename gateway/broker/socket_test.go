package broker

import (
	"net"
	"testing"
	"time"
)

// TestInterruptedSocketStaysInterrupted: a reader that sets its next deadline
// just after the connection was ended does not wait for a silent peer, and
// neither does the close.
func TestInterruptedSocketStaysInterrupted(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	peer, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = peer.Close() }()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	a := &admitted{Conn: c, door: &admission{b: &Broker{}}}
	s := &socket{Conn: c, door: a, flush: 10 * time.Millisecond}
	s.interrupt()
	for _, deadline := range []time.Time{{}, time.Now().Add(time.Hour)} {
		if err := s.SetReadDeadline(deadline); err != nil {
			t.Fatal(err)
		}
		read := make(chan error, 1)
		go func() { _, err := s.Read(make([]byte, 1)); read <- err }()
		select {
		case err := <-read:
			if !isTimeout(err) {
				t.Errorf("read: %v", err)
			}
		case <-time.After(time.Minute):
			t.Fatal("the reader waits for a silent peer")
		}
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	_ = s.SetReadDeadline(time.Time{})
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Fatal("the close waits for a silent peer")
	}
}
