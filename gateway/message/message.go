// Package message holds what the gateway carries: an application message, the verdict by which
// it is carried, the audit record of a decision, and the MQTT reason codes. It holds values
// only, which are immutable once they have been handed to another package.
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
	// ID is unique within this gateway. A message that was accepted later has a higher one.
	ID      uint64
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	Props   Properties
	// Expires is when the message expiry interval ends; zero: never.
	Expires  time.Time
	Accepted time.Time
	// Publisher is who published the message, with the identities that it had then, also while the
	// message is queued or retained (docs/spec/semantics.md 3.9). Never nil.
	Publisher *principal.Principal
	// Via is the route that the topic map found when it allowed the publish.
	Via Route
}

// Size returns roughly how much memory the message takes, in bytes, including everything of a
// size that its publisher chose. Quotas count this.
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

// Handling is what is done with an allowed publish.
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

// Route is what the topic map found out about a publish.
type Route struct {
	Handling Handling
	// Device is the hub device id in the topic; Module is the module id in it, or "".
	Device, Module string
	// Sensor is the hardware id that the property bag names; "" if it names none.
	Sensor string
	// Origin is the hub device id of the device that owns the sensor (S in docs/spec/semantics.md
	// 3.5), or Device when no sensor is named.
	Origin string
	// Topic is the topic in canonical encoding, as it is forwarded.
	Topic string
	// Mirror is the topic spaces/{path}/devices/{S}/events on which a reading is also published;
	// "" if it is not.
	Mirror string
	// Properties is the decoded property bag of telemetry, in order.
	Properties []UserProperty
	// Request is the $rid (or response id) of a request. Name is the method, or the action
	// (create, cancel, retry, get). Object is the deployment id, or the hardware id of a sensor to
	// be created.
	Request, Name, Object string
	// Status is the status of a method response.
	Status int
	// OnBehalf is true if the publisher does not act for the device or sensor that the topic
	// names, but was allowed to publish in its name. Whoever forwards the message must state the
	// real publisher (Message.Publisher).
	OnBehalf bool
}

// Verdict is the topic map's answer to one question.
type Verdict struct {
	Allowed bool
	// Reason is the stable code of docs/spec/semantics.md 2.4: "granted",
	// "no-assignment", "not-acting-for", … Never sent to clients with role names.
	Reason string
	// Detail explains it to an operator: the grant, or the nearest miss.
	Detail string
	// Code is the MQTT 5 reason code for the client.
	Code byte
	// ReportOnly is true if a row in report-only mode would have refused. Allowed is then true,
	// and Reason is that of the refusal.
	ReportOnly bool
	// Filterable, on a refused SUBSCRIBE, is true if the filter only matches more than the
	// principal may read. A listener that decides every delivery may then accept it
	// (docs/spec/semantics.md 3.7).
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
