package frame

import "github.com/gatehouse/gatehouse/gateway/message"

// Connect is a CONNECT. Byte slices alias the frame.
type Connect struct {
	Level            byte
	Clean            bool // clean session, clean start
	KeepAlive        uint16
	ClientID         string
	HasUser, HasPass bool
	Username         string
	Password         []byte
	Will             *Will
	Properties
}

// Will is the will message of a CONNECT, with its properties. Byte slices alias the frame.
type Will struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	Properties
}

// ParseConnect reads the body of a CONNECT. On an error Level is still set if
// it could be read, because the refusal depends on it.
func ParseConnect(f Frame, lim Limits) (Connect, error) {
	var v Connect
	if f.Type() != CONNECT {
		return v, violation("first packet is not a CONNECT")
	}
	c := cursor{b: f.Body}
	name := c.binary()
	v.Level = c.byte()
	if c.err != nil {
		v.Level = 0
		return v, c.err
	}
	if string(name) == "MQIsdp" && v.Level == 3 || string(name) == "MQTT" && v.Level != 4 && v.Level != 5 {
		return v, &Error{message.UnsupportedProtocolVersion, "protocol level"}
	}
	if string(name) != "MQTT" {
		v.Level = 0
		return v, violation("protocol name")
	}
	if err := CheckHeader(f, v.Level); err != nil {
		return v, err
	}
	flags := c.byte()
	v.KeepAlive = c.uint16()
	if flags&1 != 0 {
		return v, malformed("reserved CONNECT flag")
	}
	v.Clean = flags&0x02 != 0
	hasWill, willQoS, willRetain := flags&0x04 != 0, flags>>3&3, flags&0x20 != 0
	v.HasPass, v.HasUser = flags&0x40 != 0, flags&0x80 != 0
	if willQoS == 3 || !hasWill && (willQoS != 0 || willRetain) {
		return v, malformed("will flags")
	}
	if v.HasPass && !v.HasUser && v.Level < 5 {
		return v, malformed("password without a user name") // 3.1.1: 3.1.2-22
	}
	if v.Level >= 5 {
		if block := c.block(); c.err == nil {
			if err := v.parse(block, inConnect(), lim.UserProperties, nil); err != nil {
				return v, err
			}
		}
	}
	v.ClientID = string(c.text())
	if hasWill {
		w := &Will{QoS: willQoS, Retain: willRetain}
		if v.Level >= 5 {
			if block := c.block(); c.err == nil {
				if err := w.parse(block, inWill(), lim.UserProperties, nil); err != nil {
					return v, err
				}
			}
		}
		topic := c.text()
		w.Payload = c.binary()
		if c.err == nil && (len(topic) == 0 || !validName(topic)) {
			return v, &Error{message.TopicNameInvalid, "will topic"}
		}
		w.Topic = string(topic)
		v.Will = w
	}
	if v.HasUser {
		v.Username = string(c.text())
	}
	if v.HasPass {
		v.Password = c.binary()
	}
	if v.Level >= 5 && !v.seen.has(propRequestProblem) {
		v.RequestProblem = 1
	}
	v.user = nil // of no use here, and it would hold the stream buffer
	return v, c.end()
}
