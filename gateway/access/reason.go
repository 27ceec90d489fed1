package access

// The stable reason codes of a verdict. They are written to the audit and never contain a
// role's name. A refusal by the policy carries the policy's own code instead.
const (
	Granted        = "granted"
	SelfGrant      = "self-grant"       // by access.device_self_grant
	PrivateAnswer  = "private"          // a private topic: each session receives only what is meant for it
	ItsGateway     = "gateway"          // published by the gateway itself
	FilteredLater  = "filtered"         // the filter matches more than is readable; each delivery is decided
	NoPolicy       = "no-policy"        // there is no policy or no registry yet
	CacheExpired   = "cache-expired"    // the offline stage is expired
	StageRefused   = "stage-restricted" // refused in the offline stage restricted
	NotConnectable = "not-connectable"  // the principal lacks the right to connect
	NoGrant        = "no-grant"         // the principal has no effective grant on this site
	UnknownDevice  = "unknown-device"
	InactiveDevice = "not-active"
	UnknownModule  = "unknown-module"
	UnknownSensor  = "unknown-sensor" // or two sensors have this hardware id
	UnknownSpace   = "unknown-space"
	UnknownFunc    = "unknown-function"
	UnknownKind    = "unknown-kind"
	ForeignSensor  = "foreign-sensor" // the publishing device does not act for the sensor's device
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
	NoInstance     = "no-instance" // deviceUpdate.armScope is not configured
	NotInitiator   = "not-an-initiator"
	NoTopic        = "no-possible-topic"
	SharedPrivate  = "shared-private"
	PublisherLost  = "publisher-lost-right"
)
