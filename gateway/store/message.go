package store

import (
	"fmt"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

const messageFormat = 1

// encodeMessage appends m; its publisher is a reference to a record of its own.
func encodeMessage(w *writer, m *message.Message, publisher personID) {
	w.b = append(w.b, publisher[:]...)
	encodeRest(w, m)
}

// encodeRest appends m without its publisher.
func encodeRest(w *writer, m *message.Message) {
	w.b = append(w.b, messageFormat)
	w.uint(m.ID)
	w.str(m.Topic)
	w.bytes(m.Payload)
	w.uint(uint64(m.QoS))
	w.bool(m.Retain)
	w.bool(m.Props.PayloadUTF8)
	w.str(m.Props.ContentType)
	w.str(m.Props.ResponseTopic)
	w.bytes(m.Props.CorrelationData)
	encodeUser(w, m.Props.User)
	w.time(m.Expires)
	w.time(m.Accepted)
	v := &m.Via
	w.uint(uint64(v.Handling))
	for _, s := range [...]string{v.Device, v.Module, v.Sensor, v.Origin, v.Topic, v.Mirror} {
		w.str(s)
	}
	encodeUser(w, v.Properties)
	for _, s := range [...]string{v.Request, v.Name, v.Object} {
		w.str(s)
	}
	w.uint(uint64(int64(v.Status)))
	w.bool(v.OnBehalf)
}

func encodeUser(w *writer, list []message.UserProperty) {
	w.uint(uint64(len(list)))
	for _, p := range list {
		w.str(p.Key)
		w.str(p.Value)
	}
}

func decodeUser(r *reader) []message.UserProperty {
	n := r.count(2)
	if n == 0 {
		return nil
	}
	list := make([]message.UserProperty, n)
	for i := range list {
		list[i] = message.UserProperty{Key: r.str(), Value: r.str()}
	}
	return list
}

func decodeMessage(r *reader, who func(personID) (*principal.Principal, error)) (*message.Message, error) {
	var ref personID
	copy(ref[:], r.take(uint64(len(ref))))
	m, err := decodeRest(r)
	if err != nil {
		return nil, err
	}
	m.Publisher, err = who(ref)
	return m, err
}

// decodeRest reads a message without its publisher.
func decodeRest(r *reader) (*message.Message, error) {
	if f := r.take(1); len(f) == 1 && f[0] != messageFormat {
		return nil, fmt.Errorf("%w: message format %d, this release knows %d", ErrSchema, f[0], messageFormat)
	}
	m := &message.Message{ID: r.uint(), Topic: r.str(), Payload: r.bytes(), QoS: byte(r.uint()), Retain: r.bool()}
	m.Props = message.Properties{PayloadUTF8: r.bool(), ContentType: r.str(), ResponseTopic: r.str(), CorrelationData: r.bytes()}
	m.Props.User = decodeUser(r)
	m.Expires = r.time()
	m.Accepted = r.time()
	m.Via.Handling = message.Handling(r.uint())
	for _, p := range [...]*string{&m.Via.Device, &m.Via.Module, &m.Via.Sensor, &m.Via.Origin, &m.Via.Topic, &m.Via.Mirror} {
		*p = r.str()
	}
	m.Via.Properties = decodeUser(r)
	for _, p := range [...]*string{&m.Via.Request, &m.Via.Name, &m.Via.Object} {
		*p = r.str()
	}
	m.Via.Status = int(int64(r.uint()))
	m.Via.OnBehalf = r.bool()
	return m, r.err
}
