// Package principal holds who is at the other end of a connection: the credentials as they
// arrived, and the Principal that they proved. It holds values only.
package principal

import (
	"crypto/tls"
	"net/netip"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// Kind is the kind of a principal (docs/spec/semantics.md 1.1).
type Kind uint8

// The kinds. Upstream is the configured principal of an upstream link, Local
// a unix-socket peer mapped by uid, Gateway the gateway itself.
const (
	Unknown Kind = iota
	Device
	Module
	User
	ServicePrincipal
	Function
	Upstream
	Local
	Gateway
)

var kindNames = [...]string{"unknown", "device", "module", "user", "servicePrincipal", "function", "upstream", "local", "gateway"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// CredentialKind is the kind of credential that proved the principal.
type CredentialKind uint8

// The credential kinds.
const (
	NoCredential CredentialKind = iota
	SAS
	X509SelfSigned
	X509CA
	JWT
	PeerUID
)

var credentialNames = [...]string{"none", "sas", "x509-self-signed", "x509-ca", "jwt", "peer-uid"}

func (k CredentialKind) String() string {
	if int(k) < len(credentialNames) {
		return credentialNames[k]
	}
	return "none"
}

// Principal is an authenticated party. It is immutable once it has been handed out.
type Principal struct {
	Kind Kind
	// Key is the name under which sessions and queued messages are owned. It does not depend on
	// the credential, is unique across kinds, and survives restarts: "device:{hub device id}",
	// "module:{device}/{module}", "user:{tenant}/{object}", "sp:{tenant}/{object}",
	// "function:{guid}", "upstream:{name}" or "local:{name}".
	Key string
	// Name is for people (logs, status, audit). Nothing is decided by it.
	Name string
	// DeviceID is the hub device id of a device, or of a module's device. It is compared byte by
	// byte.
	DeviceID string
	// ModuleID is the module id of a module.
	ModuleID string
	// Node is the GUID in the registry of a device, or of a module's device.
	Node space.ID
	// Subject holds the identities by which rights are decided.
	Subject model.Subject

	Credential CredentialKind
	// CredentialID names the credential without revealing it (a thumbprint, a key's name, a
	// token's kid), so that the connections of a revoked credential can be found.
	CredentialID string
	// Expires is when the credential stops being valid; zero: never.
	Expires time.Time
}

// Credentials is what a client presented, none of it verified yet.
type Credentials struct {
	Listener   string
	Remote     netip.AddrPort
	TLS        *tls.ConnectionState // nil on a plain listener
	PeerUID    int                  // uid of a unix-socket peer; -1 on any other listener
	Version    byte                 // MQTT protocol level: 4 (3.1.1) or 5
	ClientID   string
	Username   string
	HasUser    bool
	Password   []byte
	HasPass    bool
	AuthMethod string // MQTT 5 enhanced authentication
	AuthData   []byte
}
