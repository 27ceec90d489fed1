package downlink

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/upstream/iothub"
)

// A command for a device that has not subscribed yet is neither lost nor
// acknowledged: it comes, once and in order, when the device has.
func TestCommandsWaitForTheirDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards the rest
		there, refuse := false, false
		var took, acked []string
		set := func(f func()) { mu.Lock(); defer mu.Unlock(); f() }
		h := &Link{o: Options{Now: time.Now}, commands: map[string][]iothub.CloudMessage{}}
		h.o.Publish = func(m *message.Message, done func(error)) {
			mu.Lock()
			code := message.Success
			switch {
			case refuse:
				code = message.NotAuthorized
			case !there:
				code = message.NoMatchingSubscribers
			default:
				took = append(took, string(m.Payload))
			}
			mu.Unlock()
			if code == message.Success {
				go done(nil)
				return
			}
			done(&message.Refused{Code: code})
		}
		ctx, cancel := context.WithCancel(t.Context())
		h.ctx = ctx
		send := func(payload, more string) {
			h.cloud("d1", iothub.CloudMessage{Topic: "devices/d1/messages/devicebound/%24.mid=" + payload, Payload: []byte(payload),
				Ack: func() { set(func() { acked = append(acked, payload+more) }) }})
			synctest.Wait()
		}
		want := func(when string, wantTook, wantAcked string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if a, b := strings.Join(took, " "), strings.Join(acked, " "); a != wantTook || b != wantAcked {
				t.Errorf("%s: took %q, acknowledged %q; want %q, %q", when, a, b, wantTook, wantAcked)
			}
		}
		send("1", "")
		send("2", "")
		time.Sleep(time.Minute)
		want("nobody is there", "", "")
		send("1", "'") // the hub sends it again over a new connection
		set(func() { there = true })
		time.Sleep(commandRetryMax)
		want("the device subscribed", "1 2", "1' 2")
		send("3", "")
		want("and is still there", "1 2 3", "1' 2 3")
		set(func() { there = false })
		send("4", "")
		time.Sleep(commandLife + commandRetryMax)
		set(func() { there = true })
		time.Sleep(commandLife)
		want("too late: it is the hub's again", "1 2 3", "1' 2 3")
		set(func() { refuse = true })
		send("5", "")
		want("refused for good", "1 2 3", "1' 2 3 5")
		set(func() { there, refuse = false, false })
		for i := range maxCommands + 10 {
			send(string(rune('A'+i%26))+strings.Repeat("x", i), "")
		}
		if n := len(h.commands["d1"]); n != maxCommands {
			t.Errorf("%d wait, at most %d may", n, maxCommands)
		}
		cancel()
		h.working.Wait()
		if slices.Contains(acked, "4") {
			t.Error("acknowledged what nobody took")
		}
	})
}
