package twins

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// call is a direct method that waits for its answer.
type call struct {
	key    string // of the principal that must answer
	answer chan methodAnswer
}

type methodAnswer struct {
	status int
	body   []byte
}

// Method calls a direct method on a device and waits for its answer. It returns status 504 at
// once if the device is not connected or not subscribed to methods, and also if the device does
// not answer before ctx ends.
func (s *Service) Method(ctx context.Context, id, name string, payload []byte) (int, []byte) {
	if name == "" || len(name) > 128 || strings.ContainsAny(name, "/+#?\x00") {
		return http.StatusBadRequest, nil
	}
	c := &call{key: keyOf(id), answer: make(chan methodAnswer, 1)}
	s.mu.Lock()
	s.nextRID++
	rid := strconv.FormatUint(s.nextRID, 36)
	s.pending[rid] = c
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.pending, rid)
		s.mu.Unlock()
	}()
	if s.o.Send(c.key, s.message("$iothub/methods/POST/"+name+"/?$rid="+rid, payload, 0)) == 0 {
		return http.StatusGatewayTimeout, nil
	}
	select {
	case a := <-c.answer:
		return a.status, a.body
	case <-ctx.Done():
		return http.StatusGatewayTimeout, nil
	}
}

// HandleMethodResponse takes a device's answer to a direct method. An answer that nobody waits
// for, or to a method that was called on another device, is dropped.
func (s *Service) HandleMethodResponse(p *principal.Principal, m *message.Message, done func(code byte)) {
	s.mu.Lock()
	c := s.pending[m.Via.Request]
	if c != nil && c.key == keyOf(idOf(p)) {
		delete(s.pending, m.Via.Request)
		c.answer <- methodAnswer{m.Via.Status, m.Payload}
	}
	s.mu.Unlock()
	done(message.Success)
}
