package frame

import (
	"unicode/utf8"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP.
type Ack struct {
	ID   uint16
	Code byte
}

// ParseAck reads an acknowledgement from a client.
func ParseAck(f Frame, level byte, lim Limits) (Ack, error) {
	c := cursor{b: f.Body}
	a := Ack{ID: c.uint16()}
	if c.err == nil && a.ID == 0 {
		return a, violation("packet identifier 0")
	}
	if level < 5 || len(c.b) == 0 {
		return a, c.end()
	}
	a.Code = c.byte()
	if !ackCode(f.Type(), a.Code) {
		return a, violation("reason code that does not belong to this packet")
	}
	if len(c.b) == 0 {
		return a, c.end()
	}
	var p Properties
	if block := c.block(); c.err == nil {
		if err := p.parse(block, inAck(), lim.UserProperties, nil); err != nil {
			return a, err
		}
	}
	return a, c.end()
}

func ackCode(kind, code byte) bool {
	switch code {
	case message.Success:
		return true
	case message.PacketIdentifierNotFound:
		return kind == PUBREL || kind == PUBCOMP
	case message.NoMatchingSubscribers, message.UnspecifiedError, message.ImplementationSpecificError,
		message.NotAuthorized, message.TopicNameInvalid, message.PacketIdentifierInUse,
		message.QuotaExceeded, message.PayloadFormatInvalid:
		return kind == PUBACK || kind == PUBREC
	}
	return false
}

// AppendAck appends an acknowledgement of the packet type kind to dst. The reason code
// is written only for MQTT 5; 3.1.1 has none.
func AppendAck(dst []byte, kind byte, id uint16, code, level byte) []byte {
	first := kind << 4
	if kind == PUBREL {
		first |= 2
	}
	if level < 5 || code == message.Success {
		return append(dst, first, 2, byte(id>>8), byte(id))
	}
	return append(dst, first, 3, byte(id>>8), byte(id), code)
}

// Disconnected is a DISCONNECT from a client.
type Disconnected struct {
	Code             byte
	SessionExpiry    uint32
	HasSessionExpiry bool
}

// ParseDisconnect reads the body of a DISCONNECT. A body of one byte is a reason code
// without properties (3.14.2.2.1): `e0 01 04` is a disconnect with will.
func ParseDisconnect(body []byte, level byte, lim Limits) (Disconnected, error) {
	var d Disconnected
	if level < 5 || len(body) == 0 {
		c := cursor{b: body}
		return d, c.end()
	}
	c := cursor{b: body}
	d.Code = c.byte()
	if !disconnectCode(d.Code) {
		return d, violation("reason code that does not belong to this packet")
	}
	if len(c.b) == 0 {
		return d, nil
	}
	var p Properties
	if block := c.block(); c.err == nil {
		if err := p.parse(block, inDisconnect(), lim.UserProperties, nil); err != nil {
			return d, err
		}
	}
	d.SessionExpiry, d.HasSessionExpiry = p.SessionExpiry, p.HasSessionExpiry()
	return d, c.end()
}

func disconnectCode(code byte) bool {
	switch code {
	case 0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99:
		return true
	}
	return false
}

// AppendDisconnect encodes a DISCONNECT of the server. reason may be empty.
func AppendDisconnect(dst []byte, code byte, reason string) []byte {
	dst = append(dst, DISCONNECT<<4)
	if reason == "" {
		return append(dst, 1, code)
	}
	props := 3 + len(reason)
	dst = append(appendVarint(dst, 1+sizeVarint(props)+props), code)
	return appendText(append(appendVarint(dst, props), propReasonString), reason)
}

// Auth is an AUTH from a client.
type Auth struct {
	Code   byte
	Method string
	Data   []byte
}

// ParseAuth reads the body of an AUTH (3.15).
func ParseAuth(body []byte, level byte, lim Limits) (Auth, error) {
	var a Auth
	if level < 5 {
		return a, violation("AUTH below MQTT 5")
	}
	c := cursor{b: body}
	a.Code = c.byte()
	var p Properties
	if block := c.block(); c.err == nil {
		if err := p.parse(block, inAuth(), lim.UserProperties, nil); err != nil {
			return a, err
		}
	}
	if err := c.end(); err != nil {
		return a, err
	}
	if a.Code != 0x18 && a.Code != 0x19 || !p.HasAuthMethod() {
		return a, violation("AUTH of a client needs continue or re-authenticate, and a method")
	}
	a.Method, a.Data = string(p.AuthMethod), p.AuthData
	return a, nil
}

// CheckSubscribe checks the structure of a SUBSCRIBE, and the grammar of its filters.
// Whether a filter is within the limits of topic.Limits and may be subscribed to is decided
// later for each one, because SUBACK has a reason code for each.
func CheckSubscribe(body []byte, level byte, lim Limits) error {
	return checkFilters(body, level, lim, true)
}

// CheckUnsubscribe checks the structure of an UNSUBSCRIBE, and the grammar of its filters.
func CheckUnsubscribe(body []byte, level byte, lim Limits) error {
	return checkFilters(body, level, lim, false)
}

func checkFilters(body []byte, level byte, lim Limits, subscribe bool) error {
	c := cursor{b: body}
	if id := c.uint16(); id == 0 && c.err == nil {
		return violation("packet identifier 0")
	}
	if level >= 5 {
		allowed := inUnsubscribe()
		if subscribe {
			allowed = inSubscribe()
		}
		var p Properties
		if block := c.block(); c.err == nil {
			if err := p.parse(block, allowed, lim.UserProperties, nil); err != nil {
				return err
			}
		}
	}
	n := 0
	for ; len(c.b) > 0; n++ {
		filter := c.text()
		var options byte
		if subscribe {
			options = c.byte()
		}
		if c.err != nil {
			return c.err
		}
		if n < lim.Filters && topic.Malformed(string(filter)) != nil { // beyond that the packet is refused in any case
			return violation("invalid topic filter") // 4.7.1 and 4.7.3-1
		}
		if !subscribe {
			continue
		}
		if err := checkOptions(filter, options, level); err != nil {
			return err
		}
	}
	if c.err != nil {
		return c.err
	}
	if n == 0 {
		return violation("no topic filter")
	}
	if n > lim.Filters {
		return &Error{message.QuotaExceeded, "too many filters in one packet"}
	}
	return nil
}

func checkOptions(filter []byte, options, level byte) error {
	switch {
	case options&3 == 3:
		return malformed("QoS 3")
	case level < 5 && options > 2, options&0xc0 != 0:
		return malformed("reserved subscription options")
	case options>>4&3 == 3:
		return violation("retain handling 3")
	case options&4 != 0 && shared(filter):
		return violation("no local on a shared subscription") // 3.8.3-4
	}
	return nil
}

// shared tells whether the filter begins with $share/, in any case of ASCII letters,
// as topic.SplitShared reads it.
func shared(filter []byte) bool {
	const prefix = "$share/"
	if len(filter) < len(prefix) {
		return false
	}
	for i := range prefix {
		c := filter[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != prefix[i] {
			return false
		}
	}
	return true
}

func validPayload(b []byte) bool { return utf8.Valid(b) }
