package frame

import (
	"github.com/gatehouse/gatehouse/gateway/message"
)

// Property identifiers (2.2.2.2).
const (
	propPayloadFormat   = 1
	propMessageExpiry   = 2
	propContentType     = 3
	propResponseTopic   = 8
	propCorrelation     = 9
	propSubscriptionID  = 11
	propSessionExpiry   = 17
	propAuthMethod      = 21
	propAuthData        = 22
	propRequestProblem  = 23
	propWillDelay       = 24
	propRequestResponse = 25
	propReasonString    = 31
	propReceiveMaximum  = 33
	propTopicAliasMax   = 34
	propTopicAlias      = 35
	propUser            = 38
	propMaximumPacket   = 39
)

type set uint64

func of(ids ...byte) (s set) {
	for _, id := range ids {
		s |= 1 << id
	}
	return s
}

func (s set) has(id byte) bool { return id < 64 && s&(1<<id) != 0 }

// The functions from inConnect to inAuth say which properties a client may put into
// which packet (2.2.2.2). A PUBLISH of a client has no subscription identifier: only
// the server sets it (3.3.4-6).
func inConnect() set {
	return of(propSessionExpiry, propAuthMethod, propAuthData, propRequestProblem, propRequestResponse,
		propReceiveMaximum, propTopicAliasMax, propUser, propMaximumPacket)
}
func inWill() set {
	return of(propPayloadFormat, propMessageExpiry, propContentType, propResponseTopic, propCorrelation,
		propWillDelay, propUser)
}
func inPublish() set {
	return of(propPayloadFormat, propMessageExpiry, propContentType, propResponseTopic, propCorrelation,
		propTopicAlias, propUser)
}
func inAck() set         { return of(propReasonString, propUser) }
func inSubscribe() set   { return of(propSubscriptionID, propUser) }
func inUnsubscribe() set { return of(propUser) }
func inDisconnect() set  { return of(propSessionExpiry, propReasonString, propUser) }
func inAuth() set        { return of(propAuthMethod, propAuthData, propReasonString, propUser) }

// Properties are the properties of one packet; seen is the set of those that were
// present. Byte slices alias the packet.
type Properties struct {
	seen                          set
	PayloadFormat, RequestProblem byte
	RequestResponse               byte
	ReceiveMaximum, TopicAliasMax uint16
	TopicAlias                    uint16
	MessageExpiry, SessionExpiry  uint32
	WillDelay, MaximumPacket      uint32
	SubscriptionID                int
	ContentType, ResponseTopic    []byte
	Correlation, AuthMethod       []byte
	AuthData                      []byte
	user                          []byte // the raw block, for the user properties
	users                         int
}

// HasMessageExpiry tells whether a message expiry interval was present; it may be 0.
func (p *Properties) HasMessageExpiry() bool { return p.seen.has(propMessageExpiry) }

// HasSessionExpiry tells whether a session expiry interval was present; it may be 0.
func (p *Properties) HasSessionExpiry() bool { return p.seen.has(propSessionExpiry) }

// HasTopicAlias tells whether a topic alias was present.
func (p *Properties) HasTopicAlias() bool { return p.seen.has(propTopicAlias) }

// HasAuthMethod tells whether an authentication method was present.
func (p *Properties) HasAuthMethod() bool { return p.seen.has(propAuthMethod) }

// Message copies the properties that are forwarded to the receivers of a message.
func (p *Properties) Message() message.Properties {
	if p.seen == 0 {
		return message.Properties{}
	}
	m := message.Properties{
		PayloadUTF8:   p.PayloadFormat == 1,
		ContentType:   string(p.ContentType),
		ResponseTopic: string(p.ResponseTopic),
	}
	if p.seen.has(propCorrelation) {
		m.CorrelationData = append([]byte{}, p.Correlation...)
	}
	if p.users == 0 {
		return m
	}
	m.User = make([]message.UserProperty, 0, p.users)
	var again Properties
	_ = again.parse(p.user, ^set(0), p.users, func(key, value []byte) {
		m.User = append(m.User, message.UserProperty{Key: string(key), Value: string(value)})
	})
	return m
}

func (p *Properties) parse(block []byte, allowed set, users int, user func(key, value []byte)) error {
	c := cursor{b: block}
	p.user = block
	for len(c.b) > 0 {
		id := c.byte()
		if !allowed.has(id) {
			return violation("property that is unknown or not allowed here")
		}
		if p.seen.has(id) && id != propUser {
			return violation("duplicate property")
		}
		p.seen |= 1 << id
		switch id {
		case propPayloadFormat:
			p.PayloadFormat = c.bool()
		case propMessageExpiry:
			p.MessageExpiry = c.uint32()
		case propContentType:
			p.ContentType = c.text()
		case propResponseTopic:
			p.ResponseTopic = c.text()
			if c.err == nil && (len(p.ResponseTopic) == 0 || !validName(p.ResponseTopic)) {
				return violation("response topic with a wildcard, or empty")
			}
		case propCorrelation:
			p.Correlation = c.binary()
		case propSubscriptionID:
			if p.SubscriptionID = c.varint(); p.SubscriptionID == 0 && c.err == nil {
				return violation("subscription identifier 0")
			}
		case propSessionExpiry:
			p.SessionExpiry = c.uint32()
		case propAuthMethod:
			p.AuthMethod = c.text()
		case propAuthData:
			p.AuthData = c.binary()
		case propRequestProblem:
			p.RequestProblem = c.bool()
		case propWillDelay:
			p.WillDelay = c.uint32()
		case propRequestResponse:
			p.RequestResponse = c.bool()
		case propReasonString:
			c.text()
		case propReceiveMaximum:
			if p.ReceiveMaximum = c.uint16(); p.ReceiveMaximum == 0 && c.err == nil {
				return violation("receive maximum 0")
			}
		case propTopicAliasMax:
			p.TopicAliasMax = c.uint16()
		case propTopicAlias:
			if p.TopicAlias = c.uint16(); p.TopicAlias == 0 && c.err == nil {
				return &Error{message.TopicAliasInvalid, "topic alias 0"}
			}
		case propUser:
			key, value := c.text(), c.text()
			if p.users++; p.users > users {
				return &Error{message.QuotaExceeded, "too many user properties"}
			}
			if user != nil && c.err == nil {
				user(key, value)
			}
		case propMaximumPacket:
			if p.MaximumPacket = c.uint32(); p.MaximumPacket == 0 && c.err == nil {
				return violation("maximum packet size 0")
			}
		default:
			return violation("property that is unknown or not allowed here")
		}
		if c.err != nil {
			return c.err
		}
	}
	if p.seen.has(propAuthData) && !p.seen.has(propAuthMethod) {
		return violation("authentication data without a method")
	}
	return nil
}

// bool is a byte that may only be 0 or 1.
func (c *cursor) bool() byte {
	v := c.byte()
	if v > 1 && c.err == nil {
		c.err = violation("flag that is neither 0 nor 1")
		c.b = nil
	}
	return v
}
