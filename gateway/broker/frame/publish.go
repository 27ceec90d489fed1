package frame

import (
	"encoding/binary"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Publish is a PUBLISH from a client. Byte slices alias the frame.
type Publish struct {
	QoS         byte
	Dup, Retain bool
	ID          uint16
	Topic       []byte // empty when only the alias is given
	Payload     []byte
	Properties
}

// ParsePublish reads a PUBLISH.
func ParsePublish(f Frame, level byte, lim Limits) (Publish, error) {
	p := Publish{QoS: f.First >> 1 & 3, Dup: f.First&8 != 0, Retain: f.First&1 != 0}
	c := cursor{b: f.Body}
	p.Topic = c.text()
	if p.QoS > 0 {
		if p.ID = c.uint16(); p.ID == 0 && c.err == nil {
			return p, violation("packet identifier 0")
		}
	}
	if level >= 5 {
		if block := c.block(); c.err == nil && len(block) > 0 {
			if err := p.parse(block, inPublish(), lim.UserProperties, nil); err != nil {
				return p, err
			}
		}
	}
	if c.err != nil {
		return p, c.err
	}
	if !validName(p.Topic) {
		return p, &Error{message.TopicNameInvalid, "wildcard in a topic name"}
	}
	if len(p.Topic) == 0 && !p.HasTopicAlias() {
		return p, &Error{message.TopicNameInvalid, "no topic and no alias"}
	}
	p.Payload = c.b
	if p.PayloadFormat == 1 && !validPayload(p.Payload) {
		return p, &Error{message.PayloadFormatInvalid, "payload is not UTF-8"}
	}
	return p, nil
}

// Outgoing is a PUBLISH to a client.
type Outgoing struct {
	Message     *message.Message
	QoS         byte
	Dup, Retain bool
	ID          uint16
	SubIDs      []uint32
	Expiry      uint32 // seconds left; only when the message expires
	Alias       uint16 // Topic Alias, in MQTT 5; 0: none
	Alone       bool   // the receiver knows Alias, so the topic is left out
}

// Append appends the encoded packet to dst.
func (o *Outgoing) Append(dst []byte, level byte) []byte {
	m, name := o.Message, o.Message.Topic
	if o.Alone {
		name = ""
	}
	n := 2 + len(name) + len(m.Payload)
	if o.QoS > 0 {
		n += 2
	}
	props := 0
	if level >= 5 {
		props = o.propertiesLen()
		n += sizeVarint(props) + props
	}
	first := PUBLISH<<4 | o.QoS<<1
	if o.Dup {
		first |= 8
	}
	if o.Retain {
		first |= 1
	}
	dst = appendVarint(append(dst, first), n)
	dst = appendText(dst, name)
	if o.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, o.ID)
	}
	if level >= 5 {
		dst = o.appendProperties(appendVarint(dst, props))
	}
	return append(dst, m.Payload...)
}

func (o *Outgoing) propertiesLen() int {
	p, n := &o.Message.Props, 0
	if p.PayloadUTF8 {
		n += 2
	}
	if !o.Message.Expires.IsZero() {
		n += 5
	}
	if o.Alias != 0 {
		n += 3
	}
	if p.ContentType != "" {
		n += 3 + len(p.ContentType)
	}
	if p.ResponseTopic != "" {
		n += 3 + len(p.ResponseTopic)
	}
	if p.CorrelationData != nil {
		n += 3 + len(p.CorrelationData)
	}
	for _, id := range o.SubIDs {
		n += 1 + sizeVarint(int(id))
	}
	for _, u := range p.User {
		n += 5 + len(u.Key) + len(u.Value)
	}
	return n
}

func (o *Outgoing) appendProperties(dst []byte) []byte {
	p := &o.Message.Props
	if p.PayloadUTF8 {
		dst = append(dst, propPayloadFormat, 1)
	}
	if !o.Message.Expires.IsZero() {
		dst = binary.BigEndian.AppendUint32(append(dst, propMessageExpiry), o.Expiry)
	}
	if o.Alias != 0 {
		dst = binary.BigEndian.AppendUint16(append(dst, propTopicAlias), o.Alias)
	}
	if p.ContentType != "" {
		dst = appendText(append(dst, propContentType), p.ContentType)
	}
	if p.ResponseTopic != "" {
		dst = appendText(append(dst, propResponseTopic), p.ResponseTopic)
	}
	if p.CorrelationData != nil {
		dst = binary.BigEndian.AppendUint16(append(dst, propCorrelation), uint16(len(p.CorrelationData)))
		dst = append(dst, p.CorrelationData...)
	}
	for _, id := range o.SubIDs {
		dst = appendVarint(append(dst, propSubscriptionID), int(id))
	}
	for _, u := range p.User {
		dst = appendText(appendText(append(dst, propUser), u.Key), u.Value)
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func appendVarint(dst []byte, n int) []byte {
	for n > 0x7f {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

func sizeVarint(n int) int {
	size := 1
	for ; n > 0x7f; n >>= 7 {
		size++
	}
	return size
}
