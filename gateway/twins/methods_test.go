package twins

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

func TestMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		defer func() { h.stop() }()
		h.setHere(false)
		began := time.Now()
		if status, _ := h.s.Method(t.Context(), "d1", "reboot", nil); status != 504 || time.Since(began) != 0 {
			t.Errorf("status %d after %s", status, time.Since(began))
		}
		h.setHere(true)
		type answer struct {
			status int
			body   string
		}
		got := make(chan answer, 1)
		go func() {
			status, body := h.s.Method(t.Context(), "d1", "reboot", []byte(`1`))
			got <- answer{status, string(body)}
		}()
		topic, _, _ := strings.Cut(h.one(), " ")
		rid, ok := strings.CutPrefix(topic, "$iothub/methods/POST/reboot/?$rid=")
		if !ok {
			t.Fatal(topic)
		}
		respond := func(p *principal.Principal, body string) {
			h.s.Handle(p, "", &message.Message{Payload: []byte(body),
				Via: message.Route{Handling: message.MethodResponse, Request: rid, Status: 200}}, func(byte) {})
		}
		respond(&principal.Principal{Kind: principal.Device, DeviceID: "d2"}, "forged")
		synctest.Wait()
		select {
		case a := <-got:
			t.Fatalf("another device's answer is taken: %+v", a)
		default:
		}
		respond(dev, "ok")
		respond(dev, "again")
		if a := <-got; a != (answer{200, "ok"}) {
			t.Errorf("%+v", a)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if status, _ := h.s.Method(ctx, "d1", "reboot", nil); status != 504 {
			t.Errorf("no answer: %d", status)
		}
		if status, _ := h.s.Method(t.Context(), "d1", "a/b", nil); status != 400 {
			t.Errorf("a name with a slash: %d", status)
		}
	})
}
