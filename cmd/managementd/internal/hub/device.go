package hub

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gatehouse/gatehouse/device/twin"
)

type properties = twin.Properties

// emptyProperties is a new twin's half: IoT Hub starts counting at 1.
func emptyProperties() properties {
	p := twin.Empty()
	p.Version = 1
	return p
}

// attach makes a connection the identity's only one: a second drops the first.
func (h *Hub) attach(c *conn, clean bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.entryOf(c.id)
	if e.conn != nil { // two connected at the same time, so that OnSessionEstablish of neither saw the other
		e.conn.close()
	}
	e.conn = c
	if clean {
		e.subs = map[string]byte{}
	}
	h.flushC2D(e)
}

func (h *Hub) detach(c *conn, lost bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.entryOf(c.id)
	if e.conn == c {
		e.conn = nil
		for _, ch := range e.methods {
			close(ch)
		}
		e.methods = map[string]chan methodResult{}
	}
	if lost && c.will != nil {
		if bag, ok := eventsTopic(c.id, c.will.TopicName); ok {
			if props, ok := parseBag(bag); ok {
				props["iothub-MessageType"] = "Will"
				h.tele.add(c.id, h.o.Now(), props, c.will.Payload)
			}
		}
	}
}

func (h *Hub) subscribed(c *conn, granted map[string]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.entryOf(c.id)
	if e.conn != c {
		return
	}
	for f, q := range granted {
		e.subs[f] = q
	}
}

func (h *Hub) deliverPending(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.entryOf(c.id); e.conn == c {
		h.flushC2D(e)
	}
}

func (h *Hub) unsubscribed(c *conn, filter string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e := h.entryOf(c.id); e.conn == c {
		delete(e.subs, filter)
	}
}

// published handles one publish; false for a topic that IoT Hub does not know.
func (h *Hub) published(c *conn, topic string, payload []byte, retain bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.entryOf(c.id)
	if e.conn != c {
		return true // the connection was dropped meanwhile, so its packets are ignored
	}
	if bag, ok := eventsTopic(c.id, topic); ok {
		props, ok := parseBag(bag)
		if !ok || len(payload) > 256<<10 {
			return false
		}
		if retain {
			props["mqtt-retain"] = "true"
		}
		h.tele.add(c.id, h.o.Now(), props, payload)
		return true
	}
	if rid, ok := request(topic, "$iothub/twin/GET/"); ok {
		h.answer(e, 200, "$rid="+rid, twin.Document{Desired: e.desired, Reported: e.reported}.Body())
		return true
	}
	if rid, ok := request(topic, "$iothub/twin/PATCH/properties/reported/"); ok {
		h.patchReported(e, rid, payload)
		return true
	}
	if status, rid, ok := methodResponse(topic); ok {
		if ch := e.methods[rid]; ch != nil {
			delete(e.methods, rid)
			ch <- methodResult{status, payload}
		}
		return true
	}
	return false
}

func (h *Hub) patchReported(e *entry, rid string, payload []byte) {
	patch, err := twin.ParsePatch(payload)
	next := e.reported.Merge(properties{Value: patch.Value})
	if err == nil {
		err = twin.Check(next.Value, twin.MaxReported)
	}
	if err != nil {
		h.answer(e, 400, "$rid="+rid, nil)
		return
	}
	next.Version = e.reported.Version + 1
	e.reported = next
	h.answer(e, 204, "$rid="+rid+"&$version="+strconv.FormatInt(next.Version, 10), nil)
}

// answer goes to $iothub/twin/res; an identity that did not subscribe gets nothing.
func (h *Hub) answer(e *entry, status int, query string, body []byte) {
	if _, ok := e.subs[filterTwinRes]; ok && e.conn != nil {
		e.conn.send("$iothub/twin/res/"+strconv.Itoa(status)+"/?"+query, body, 0, 0)
	}
}

// c2d is one cloud-to-device message that is not yet acknowledged.
type c2d struct {
	seq     uint64
	topic   string
	payload []byte
}

const maxC2D = 50 // pending for a device (docs/spec/device-update.md 5.4)

// flushC2D sends what has not been sent on this connection. Called with mu held.
func (h *Hub) flushC2D(e *entry) {
	if e.conn == nil {
		return
	}
	qos, ok := e.subs[inboxOf(e.conn.id)+"#"]
	if !ok {
		return
	}
	kept := e.c2d[:0]
	for _, m := range e.c2d {
		if !e.conn.waits(m.seq) {
			if qos == 0 {
				e.conn.send(m.topic, m.payload, 0, 0)
				continue
			}
			e.conn.send(m.topic, m.payload, 1, e.conn.packetID(m.seq))
		}
		kept = append(kept, m)
	}
	e.c2d = kept
}

// waits tells whether a message has been sent on this connection. Called with Hub.mu held.
func (c *conn) waits(seq uint64) bool {
	for _, s := range c.wait {
		if s == seq {
			return true
		}
	}
	return false
}

// packetID takes a free packet id for a message. Called with Hub.mu held.
func (c *conn) packetID(seq uint64) uint16 {
	for {
		c.nextID++
		if _, taken := c.wait[c.nextID]; c.nextID != 0 && !taken {
			c.wait[c.nextID] = seq
			return c.nextID
		}
	}
}

func (h *Hub) acknowledged(c *conn, packetID uint16) {
	h.mu.Lock()
	defer h.mu.Unlock()
	seq, ok := c.wait[packetID]
	if !ok {
		return
	}
	delete(c.wait, packetID)
	e := h.entryOf(c.id)
	for i, m := range e.c2d {
		if m.seq == seq {
			e.c2d = append(e.c2d[:i:i], e.c2d[i+1:]...)
			return
		}
	}
}

// validName tells whether a method name can be a topic level.
func validName(s string) bool {
	return s != "" && len(s) <= 128 && utf8.ValidString(s) && !strings.ContainsAny(s, "/+#?\x00")
}
