package upstream

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// A refused message is told when it fits: not before, whether it was its device's
// limit or that of all which refused it, and not once for each message that leaves.
func TestRoomComesWhenARefusedMessageFits(t *testing.T) {
	for name, limits := range map[string]Limits{
		"device": {DeviceMessages: 128, Messages: 1000},
		"all":    {Messages: 128},
		"bytes":  {Bytes: 128 * 137},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, c := newDisk(t), newCloud(false)
				left, conn := 0, (*cloudConn)(nil)
				c.deliver = func(k *cloudConn, _ *message.Message) (bool, bool) { conn = k; left--; return left >= 0, false }
				b := newBox(t, Options{Storage: d, Connector: c, Limits: limits, Routes: []Route{{Name: "r"}}, Window: 1000})
				if !isClosed(b.Room()) {
					t.Error("nothing was refused, and there is no room")
				}
				for i := range 128 {
					if err := offer(t, b, msg("d", fmt.Sprintf("%03d", i))); err != nil {
						t.Fatal(err)
					}
				}
				if got := code(offer(t, b, msg("d", "new"))); got != "97 outbox-full" {
					t.Fatal(got)
				}
				room := b.Room()
				stop := pumping(t, b)
				defer stop()
				left = 1
				c.set(true)
				synctest.Wait()
				if isClosed(room) {
					t.Error("one of 128 has left, and everybody is woken")
				}
				c.mu.Lock()
				acked := conn.held[0]
				c.mu.Unlock()
				acked(nil)
				synctest.Wait()
				if !isClosed(room) {
					t.Error("a sixty-fourth has left, and there is no room")
				}
				if err := offer(t, b, msg("d", "new")); err != nil {
					t.Errorf("offered again: %v", err)
				}
				if !isClosed(b.Room()) {
					t.Error("no refusal stands")
				}
			})
		})
	}
}

// A publisher whose own limit is full does not wait for others, nor do they for him.
func TestRoomIsOfWhoWasRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(true)
		c.lanes = func(device string) string { return device }
		c.deliver = func(k *cloudConn, _ *message.Message) (bool, bool) { return k.lane != "stuck", false }
		b := newBox(t, Options{Storage: newDisk(t), Connector: c, Limits: Limits{DeviceMessages: 1}, Routes: []Route{{Name: "r"}}})
		stop := pumping(t, b)
		defer stop()
		_ = offer(t, b, msg("stuck", "1"))
		if got := code(offer(t, b, msg("stuck", "2"))); got != "97 outbox-full" {
			t.Fatal(got)
		}
		room := b.Room()
		for range 10 {
			if err := offer(t, b, msg("fine", "x")); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if isClosed(room) {
			t.Error("what left was another's")
		}
	})
}

// A storage without space says nothing when it has some again: it is asked.
func TestRoomAfterAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		b := newBox(t, Options{Storage: d, Connector: newCloud(false), Routes: []Route{{Name: "r"}}})
		d.fail = coded("disk-full")
		_ = offer(t, b, msg("d", "x"))
		room := b.Room()
		time.Sleep(storeRetry - 1)
		synctest.Wait()
		if isClosed(room) {
			t.Error("too early")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if !isClosed(room) {
			t.Error("nobody was told to try again")
		}
		d.fail = errors.New("broken") // no matter of room
		_ = offer(t, b, msg("d", "x"))
		if !isClosed(b.Room()) {
			t.Error("waits for room that was not missing")
		}
	})
}
