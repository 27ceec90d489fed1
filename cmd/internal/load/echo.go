package load

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// echo sends every request's payload back to its requester. With MQTT 5 it
// answers on the request's response topic, with its correlation data; MQTT
// 3.1.1 has neither, so that both sides agree on the topic beforehand.
type echo struct {
	*client
	qos   byte
	reply func(publisher int) string

	mu      sync.Mutex
	waiting []answer // guarded by mu

	sent, acked atomic.Int64
}

type answer struct {
	topic       string
	payload     []byte
	correlation []byte
}

// answer leaves one for the writer.
func (e *echo) answer(p *frame.Publish, st stamp) {
	a := answer{topic: string(p.ResponseTopic), payload: bytes.Clone(p.Payload), correlation: bytes.Clone(p.Correlation)}
	if a.topic == "" && int(st.publisher) < len(e.x.pubs) {
		a.topic = e.reply(int(st.publisher))
	}
	if a.topic == "" {
		return
	}
	e.mu.Lock()
	e.waiting = append(e.waiting, a)
	e.mu.Unlock()
	e.l.call()
}

func (e *echo) produce(buf []byte) ([]byte, time.Duration) {
	for len(buf) < batch {
		e.mu.Lock()
		if len(e.waiting) == 0 {
			e.mu.Unlock()
			return buf, -1
		}
		a := e.waiting[0]
		e.mu.Unlock()
		id := uint16(0)
		if e.w != nil {
			if id = e.w.take(uint32(e.sent.Load()), now()); id == 0 {
				return buf, -1
			}
		}
		out := frame.Outgoing{
			Message: &message.Message{
				Topic:   a.topic,
				Payload: a.payload,
				Props:   message.Properties{CorrelationData: a.correlation},
			},
			QoS: e.qos,
			ID:  id,
		}
		buf = out.Append(buf, e.l.level)
		e.sent.Add(1)
		e.mu.Lock()
		e.waiting = e.waiting[1:]
		e.mu.Unlock()
	}
	return buf, 0
}

func (e *echo) answered(_ int64, refused byte) {
	if refused == 0 {
		e.acked.Add(1)
	}
}
