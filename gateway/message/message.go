// Package message holds what is carried: an application message, the verdict
// under which it is carried, the record that an audit keeps of a decision,
// and the MQTT reason codes. Values only; everything here is immutable once
// it has been handed to another package.
package message

import (
	"time"

	"github.com/gatehouse/gatehouse/gateway/principal"
)

// UserProperty is one MQTT 5 user property.
type UserProperty struct{ Key, Value string }

// Properties are the MQTT 5 properties that travel with a message from
// publisher to subscriber (OASIS MQTT 5.0, 3.3.2.3).
type Properties struct {
	PayloadUTF8     bool // payload format indicator 1
	ContentType     string
	ResponseTopic   string
	CorrelationData []byte
	User            []UserProperty
}

// Message is one application message.
type Message struct {
	// ID is unique within this gateway and rises with acceptance order.
	ID      uint64
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	Props   Properties
	// Expires is the end of the message expiry interval; zero: never.
	Expires  time.Time
	Accepted time.Time
	// Publisher is who published it, with the identity set of that moment
	// (docs/spec/semantics.md 3.9: queued and retained messages keep it). Never nil.
	Publisher *principal.Principal
	// Via is what access resolved when it allowed the publish.
	Via Route
}

// Size is what the message holds in memory, roughly and in bytes, everything
// that its publisher chose included: what quotas count.
func (m *Message) Size() int64 {
	n := len(m.Topic) + len(m.Payload) + len(m.Props.ContentType) + len(m.Props.ResponseTopic) + len(m.Props.CorrelationData)
	for i := range m.Props.User {
		n += len(m.Props.User[i].Key) + len(m.Props.User[i].Value) + 32
	}
	for i := range m.Via.Properties {
		n += len(m.Via.Properties[i].Key) + len(m.Via.Properties[i].Value) + 32
	}
	return int64(n)
}

// Handling says who a publish is for.
type Handling uint8

// The kinds of handling. Fanout goes to subscribers (and upstream when a
// route matches); the others are answered by a service of the gateway and never
// reach the subscription index.
const (
	Fanout Handling = iota
	Telemetry
	TwinGet
	TwinReported
	MethodResponse
	Deployment
	Registry
	CloudToDevice
)

// Route is what the topic map made of a publish.
type Route struct {
	Handling Handling
	// Device is the hub device id in the topic, Module its module or "".
	Device, Module string
	// Sensor is the hardwareId named in the property bag, "" if none.
	Sensor string
	// Origin is the hub device id that owns the sensor (S in docs/spec/semantics.md 3.5); Device when no sensor is named.
	Origin string
	// Topic is the topic re-encoded from its parsed form: what is forwarded.
	Topic string
	// Mirror is the topic spaces/{path}/devices/{S}/events at which a
	// reading is republished; "" when it is not.
	Mirror string
	// Properties is the decoded property bag, in order, of telemetry.
	Properties []UserProperty
	// Request is the $rid (or response id) of a request; Name the method,
	// action (create, cancel, retry, get) or deployment id parts.
	Request, Name, Object string
	// Status is the status of a method response.
	Status int
	// OnBehalf: the publisher does not act for the device or sensor that the
	// topic names; an on_behalf row let it speak in its name. Whoever forwards
	// the message stamps who it really was (Message.Publisher).
	OnBehalf bool
}

// Verdict is the answer of access to one question.
type Verdict struct {
	Allowed bool
	// Reason is the stable code of docs/spec/semantics.md 2.4: "granted",
	// "no-assignment", "not-acting-for", … Never sent to clients with role names.
	Reason string
	// Detail explains it to an operator: the grant, or the nearest miss.
	Detail string
	// Code is the MQTT 5 reason code for the client.
	Code byte
	// ReportOnly: the topic map row is watched, not enforced. Allowed is then
	// true and Reason says what enforcement would have answered.
	ReportOnly bool
	// Filterable, of a refused SUBSCRIBE: a filtered listener may accept it all the
	// same, because the filter is only wider than what is readable and each
	// delivery is decided (docs/spec/semantics.md 3.7).
	Filterable bool
	Route      Route
}

// AuditRecord is what the audit keeps of a decision or of an event.
type AuditRecord struct {
	Time      time.Time `json:"time"`
	Event     string    `json:"event"` // connect, publish, subscribe, deliver, will, revoke, deployment, sync, stage, …
	Allowed   bool      `json:"allowed"`
	Principal string    `json:"principal,omitempty"` // Key, or what was claimed when nothing was proved
	ClientID  string    `json:"clientId,omitempty"`
	Remote    string    `json:"remote,omitempty"`
	Topic     string    `json:"topic,omitempty"` // topic or filter; never a payload
	Reason    string    `json:"reason,omitempty"`
	Detail    string    `json:"detail,omitempty"`
	Version   string    `json:"version,omitempty"` // policy version, "epoch.number"
	Count     uint64    `json:"count"`             // how many this record stands for, at least 1
}
