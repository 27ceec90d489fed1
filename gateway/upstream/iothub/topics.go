package iothub

import (
	"errors"
	"strconv"
	"strings"

	"github.com/gatehouse/gatehouse/gateway/upstream/mqttconn"
)

var errInvalid = errors.New("invalid")

// validRequest checks a request id, because it is put into the topic of the answer.
func validRequest(rid string) bool {
	if rid == "" || len(rid) > 128 {
		return false
	}
	for i := range len(rid) {
		switch c := rid[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.', c == ':':
		default:
			return false
		}
	}
	return true
}

// query reads "?$rid=1&$version=2". Unknown parameters are ignored; a repeated one makes the whole invalid.
func query(s string) (map[string]string, bool) {
	rest, ok := strings.CutPrefix(s, "?")
	if !ok {
		return nil, false
	}
	out := map[string]string{}
	for part := range strings.SplitSeq(rest, "&") {
		k, v, _ := strings.Cut(part, "=")
		if _, twice := out[k]; twice || len(out) > 8 {
			return nil, false
		}
		out[k] = v
	}
	return out, true
}

// response reads "{status}/?$rid={rid}[&$version={v}]".
func response(rest string) (rid string, a answer, ok bool) {
	status, params, found := strings.Cut(rest, "/")
	q, valid := query(params)
	if !found || !valid || !validRequest(q["$rid"]) {
		return "", answer{}, false
	}
	var err error
	if a.status, err = strconv.Atoi(status); err != nil || a.status < 100 || a.status > 999 {
		return "", answer{}, false
	}
	if v, has := q["$version"]; has {
		if a.version, err = strconv.ParseInt(v, 10, 64); err != nil || a.version < 0 {
			return "", answer{}, false
		}
	}
	return q["$rid"], a, true
}

// arrived handles a message from the hub by its topic. A message on any topic that the
// hub does not use is counted and dropped.
func (s *Session) arrived(m mqttconn.Message) {
	if !s.take(m) {
		m.Ack()
		s.mu.Lock()
		s.ignored++
		s.mu.Unlock()
	}
}

func (s *Session) take(m mqttconn.Message) bool {
	on := &s.hub.opt.Handlers
	if rest, ok := strings.CutPrefix(m.Topic, twinResTopic); ok {
		rid, a, ok := response(rest)
		if !ok {
			return false
		}
		a.body = m.Payload
		s.mu.Lock()
		ch := s.pending[rid]
		delete(s.pending, rid)
		s.mu.Unlock()
		if ch == nil {
			return false
		}
		ch <- a // buffered, and nobody else has it any more
		m.Ack()
		return true
	}
	if rest, ok := strings.CutPrefix(m.Topic, desiredTopic); ok {
		q, valid := query(rest)
		version, err := strconv.ParseInt(q["$version"], 10, 64)
		if !valid || err != nil || version < 0 || on.Desired == nil {
			return false
		}
		on.Desired(s.device, version, m.Payload)
		m.Ack()
		return true
	}
	if rest, ok := strings.CutPrefix(m.Topic, methodTopic); ok {
		name, params, found := strings.Cut(rest, "/")
		q, valid := query(params)
		if !found || !valid || name == "" || len(name) > 128 || !validRequest(q["$rid"]) || on.Method == nil {
			return false
		}
		on.Method(s.device, Method{Name: name, Request: q["$rid"], Payload: m.Payload})
		m.Ack()
		return true
	}
	if strings.HasPrefix(m.Topic, "devices/"+s.device+"/messages/devicebound/") && on.Cloud != nil {
		on.Cloud(s.device, CloudMessage{Topic: m.Topic, Payload: m.Payload, Ack: m.Ack})
		return true
	}
	return false
}
