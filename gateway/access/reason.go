package access

// The stable reason codes of a verdict. They go to the audit, never with a
// role's name in them. A refusal of the policy itself carries the policy's own code.
const (
	Granted        = "granted"
	SelfGrant      = "self-grant"       // device_self_grant
	PrivateAnswer  = "private"          // a topic on which each session gets only its own
	ItsGateway     = "gateway"          // the gateway's own traffic
	FilteredLater  = "filtered"         // accepted wider than readable; each delivery is decided
	NoPolicy       = "no-policy"        // no snapshot: nothing can be decided
	CacheExpired   = "cache-expired"    // stage expired
	StageRefused   = "stage-restricted" // refused while the cloud is out of sight
	NotConnectable = "not-connectable"  // the right to be connected is missing
	NoGrant        = "no-grant"         // not one effective grant here
	UnknownDevice  = "unknown-device"
	InactiveDevice = "not-active"
	UnknownModule  = "unknown-module"
	UnknownSensor  = "unknown-sensor" // or ambiguous
	UnknownSpace   = "unknown-space"
	UnknownFunc    = "unknown-function"
	UnknownKind    = "unknown-kind"
	ForeignSensor  = "foreign-sensor" // the sensor's device is not served by this device
	NotActingFor   = "not-acting-for"
	NotOwn         = "not-own-identity"
	NoRow          = "no-row"
	NeverPublish   = "never-published" // no client publishes here
	NeverRead      = "never-readable"  // no client reads here
	NoWill         = "no-will-here"
	ForUpstream    = "closed-to-upstream"
	BadTopic       = "bad-topic"
	BadFilter      = "bad-filter"
	BadBag         = "bad-property-bag"
	ReservedKey    = "reserved-property"
	BadRequest     = "bad-request"
	BadResponse    = "bad-response-topic"
	NoInstance     = "no-instance" // Device Update is not configured
	NotInitiator   = "not-an-initiator"
	NoTopic        = "no-possible-topic"
	SharedPrivate  = "shared-private"
	PublisherLost  = "publisher-lost-right"
)
