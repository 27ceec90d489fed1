package admin

import "time"

// Status is the state of the gateway in one document. Fields are only ever
// added; ages and durations are seconds.
type Status struct {
	Build         Build            `json:"build"`
	Site          string           `json:"site"`
	SiteName      string           `json:"siteName,omitempty"` // Site by names, if they are known
	Hub           string           `json:"hub"`
	StartedAt     time.Time        `json:"startedAt"`
	UptimeSeconds float64          `json:"uptimeSeconds"`
	Health        Health           `json:"health"`
	Cache         CacheState       `json:"cache"`
	Sessions      SessionCounts    `json:"sessions"`
	Messages      MessageCounts    `json:"messages"`
	Outbox        OutboxState      `json:"outbox"`
	Upstream      LinkState        `json:"upstream"`
	Sync          LinkState        `json:"sync"`
	Deployments   map[string]int64 `json:"deployments"` // by state: queued, held, released, succeeded, …
	Listeners     []ListenerState  `json:"listeners"`
}

// Build names the program.
type Build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go,omitempty"`
}

// Health is the overall state ("ok", "degraded", "failing") and its reasons.
type Health struct {
	State    string    `json:"state"`
	Since    time.Time `json:"since"`
	Warnings []Warning `json:"warnings"`
}

// Warning is one named condition.
type Warning struct {
	Name     string    `json:"name"`
	Severity string    `json:"severity"` // notice, degraded, failing
	Text     string    `json:"text"`
	Next     string    `json:"next"`
	Since    time.Time `json:"since"`
}

// CacheState is the policy in force. Stage is fresh, stale, restricted or expired.
type CacheState struct {
	Version     string  `json:"version"` // "epoch.number"; "" before the first
	AgeSeconds  float64 `json:"ageSeconds"`
	Stage       string  `json:"stage"`
	Roles       int     `json:"roles"`
	Assignments int     `json:"assignments"`
	Devices     int     `json:"devices"`
	Sensors     int     `json:"sensors"`
	Spaces      int     `json:"spaces"`
}

// SessionCounts counts sessions: connected ones, and all that are kept.
type SessionCounts struct {
	Connected     int            `json:"connected"`
	Total         int            `json:"total"`
	Subscriptions int            `json:"subscriptions"`
	TakeOvers     uint64         `json:"takeOvers"` // since the start: a newer connection took the session from a live one
	Contested     int            `json:"contested"` // sessions that two clients take from each other at the moment
	Waiting       int            `json:"waiting"`   // connections that wait for one of those
	ByKind        map[string]int `json:"byKind,omitempty"`
}

// MessageCounts are totals since the start. Accepted counts the publishes that
// were accepted, with or without a route upstream. ForUpstream counts the messages
// that a route sends upstream, and those that waited in the outbox at the start. Each
// of them has been forwarded, waits in the outbox, or is counted in NotForwarded.
type MessageCounts struct {
	Accepted       uint64            `json:"accepted"`
	Denied         uint64            `json:"denied"`
	ForUpstream    uint64            `json:"forUpstream"`
	Forwarded      uint64            `json:"forwarded"`
	Dropped        uint64            `json:"dropped"` // on any way, those in NotForwarded included
	NotForwarded   map[string]uint64 `json:"notForwardedByReason,omitempty"`
	DeniedByReason map[string]uint64 `json:"deniedByReason,omitempty"`
}

// Lost is how many messages for upstream were dropped or parked: the sum of NotForwarded.
func (m *MessageCounts) Lost() (n uint64) {
	for _, k := range m.NotForwarded {
		n += k
	}
	return n
}

// OutboxState sums up the messages that wait for upstream.
type OutboxState struct {
	Messages      int64   `json:"messages"`
	Bytes         int64   `json:"bytes"`
	LimitBytes    int64   `json:"limitBytes"`
	OldestSeconds float64 `json:"oldestSeconds"`
	Parked        int64   `json:"parked,omitempty"`   // messages set aside because upstream does not take them; not in Messages
	Withheld      int64   `json:"withheld,omitempty"` // publishes that wait, unacknowledged, for capacity; not in Messages
	Paused        bool    `json:"paused,omitempty"`   // an operator has paused sending, of at least one device
}

// LinkState is a connection to the cloud: connected, connecting, down or none.
type LinkState struct {
	State  string    `json:"state"`
	Detail string    `json:"detail,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Target string    `json:"target,omitempty"`
}

// ListenerState is one listener for clients.
type ListenerState struct {
	Name        string `json:"name"`
	Kind        string `json:"kind"`
	Address     string `json:"address"`
	Connections int    `json:"connections"`
}

// SessionQuery selects sessions; empty fields match all.
type SessionQuery struct {
	Principal string // key, name or client id, or a part of it
	Connected bool   // only connected ones
	Limit     int
}

// Session is one session of a client.
type Session struct {
	Key           string    `json:"key"`
	ClientID      string    `json:"clientId"`
	Principal     string    `json:"principal"`
	Name          string    `json:"name,omitempty"`
	Kind          string    `json:"kind"`
	Credential    string    `json:"credential,omitempty"`
	Listener      string    `json:"listener,omitempty"`
	Remote        string    `json:"remote,omitempty"`
	Protocol      string    `json:"protocol"` // "3.1.1", "5"
	Connected     bool      `json:"connected"`
	Since         time.Time `json:"since,omitzero"`
	Expires       time.Time `json:"expires,omitzero"` // of the credential
	Subscriptions []string  `json:"subscriptions"`
	Suspended     []string  `json:"suspended,omitempty"` // by revocation
	Inflight      int       `json:"inflight"`
	Queued        int       `json:"queued"`
	QueuedBytes   int64     `json:"queuedBytes"`
	LostOldest    uint64    `json:"lostOldest"`  // messages dropped from its queue to make way for later ones
	LostNewest    uint64    `json:"lostNewest"`  // messages that found the queue full
	Overflowing   bool      `json:"overflowing"` // it loses messages at the moment
	Received      uint64    `json:"received"`
	Sent          uint64    `json:"sent"`
	Denied        uint64    `json:"denied"`
	TakeOvers     uint64    `json:"takeOvers"` // times that a newer connection took the session from a live one
}

// IsVerb reports whether word is an MQTT operation that can be explained. "receive" is
// the delivery of one message to a subscriber, "will" the publication of a Will Message.
func IsVerb(word string) bool {
	switch word {
	case "connect", "publish", "subscribe", "will", "receive":
		return true
	}
	return false
}

// Question asks for a decision: an MQTT operation (Verb, with Topic unless it
// is connect), an operation of the space model ("Read Device" with At
// a space path or the name of a device), or an Azure data action (with At an
// ARM scope).
type Question struct {
	Principal string `json:"principal,omitempty"` // key, device id, or {type}:{id}
	Verb      string `json:"verb,omitempty"`
	Topic     string `json:"topic,omitempty"`
	Operation string `json:"operation,omitempty"`
	At        string `json:"at,omitempty"`
}

// Explanation is a decision and its reasons (docs/spec/semantics.md 2.4).
type Explanation struct {
	Question   Question `json:"question"`
	Allowed    bool     `json:"allowed"`
	Reason     string   `json:"reason"`
	Detail     string   `json:"detail,omitempty"`
	Needs      string   `json:"needs,omitempty"`          // what the topic map asks for, and where
	Steps      []Step   `json:"steps,omitempty"`          // of an MQTT operation: what was asked, in order
	Grant      *Grant   `json:"grant,omitempty"`          // what allows it
	Nearest    []Miss   `json:"nearest,omitempty"`        // what came closest
	WouldNeed  []string `json:"wouldNeedOneOf,omitempty"` // roles that would allow it, of a refusal
	Version    string   `json:"version"`
	AgeSeconds float64  `json:"ageSeconds"`
	Stage      string   `json:"stage,omitempty"`
}

// Step is one check on the way to a decision. It names the row of the topic map to which the
// following steps belong, a relation (Check), or an operation (Needs) with the assignment that
// grants it.
type Step struct {
	Row    string `json:"row,omitempty"`
	Check  string `json:"check,omitempty"`
	Needs  string `json:"needs,omitempty"`
	At     string `json:"at,omitempty"`
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"`
	Grant  *Grant `json:"grant,omitempty"`
}

// Miss is an assignment that does not grant the operation in question, and why not.
type Miss struct {
	Grant
	Why string `json:"why"`
}

// Grant is one assignment with its role.
type Grant struct {
	Assignment string `json:"assignment"` // id
	Identity   string `json:"identity"`   // {type}:{id}
	Role       string `json:"role"`
	Scope      string `json:"scope"` // space path or ARM scope
	Operations string `json:"operations,omitempty"`
}

// AssignmentQuery selects assignments.
type AssignmentQuery struct {
	Path      string
	Down      bool // and below Path
	Principal string
}

// Assignment is a role assignment in force.
type Assignment struct {
	ID       string `json:"id"`
	Model    string `json:"model"` // space, azure
	Role     string `json:"role"`
	RoleID   string `json:"roleId"`
	Identity string `json:"identity"`
	Tenant   string `json:"tenant,omitempty"`
	Scope    string `json:"scope"`
	Problem  string `json:"problem,omitempty"` // why it grants nothing
}

// SyncRequest asks for a synchronisation with the cloud; Full reads everything anew, not
// only the changes.
type SyncRequest struct {
	Full bool `json:"full"`
}

// SyncResult is the outcome of a SyncRequest.
type SyncResult struct {
	From    string  `json:"from"`
	To      string  `json:"to"`
	Changes int     `json:"changes"`
	Seconds float64 `json:"seconds"`
	Detail  string  `json:"detail,omitempty"`
}

// ClockResult says what the gateway's trusted time was, and what it is now.
type ClockResult struct {
	Was time.Time `json:"was"`
	Now time.Time `json:"now"`
}

// DisconnectRequest names a session by its key, or all sessions of a principal.
type DisconnectRequest struct {
	Session   string `json:"session,omitempty"`
	Principal string `json:"principal,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// DisconnectResult says how many connections were closed.
type DisconnectResult struct {
	Closed int `json:"closed"`
}

// Remote is a server that the gateway talks to, for whoever looks at it over the network.
type Remote struct {
	Name       string `json:"name"`    // the setting that names it: "cloud.management.url"
	URL        string `json:"url"`     // without user info, query and fragment, which may hold a secret
	Address    string `json:"address"` // host:port to dial
	ServerName string `json:"serverName"`
	// Authority is the PEM text of the authorities that the gateway trusts for it; "": those of the system.
	Authority      string `json:"authority,omitempty"`
	AuthorityError string `json:"authorityError,omitempty"` // why the file of Authority cannot be read
	Clock          bool   `json:"clock,omitempty"`          // its time is the cloud's
	Upstream       bool   `json:"upstream,omitempty"`
}

// Remotes are the servers that the configuration names, and the gateway's trusted time.
type Remotes struct {
	Time    time.Time `json:"time"`
	Remotes []Remote  `json:"remotes"`
}

// EchoResult says how a probe through the link upstream went. Error is "" if it came back.
type EchoResult struct {
	Target  string  `json:"target"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

// Finding is the result of one of doctor's checks. State is ok, notice, warn or fail.
type Finding struct {
	Name  string `json:"name"`
	State string `json:"state"`
	Text  string `json:"text"`
	Next  string `json:"next,omitempty"`
}
