package wire

import (
	"strconv"
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// The types of object that a change feed carries. The first five are those of
// the original service's TopologyOperation events; the others are additions.
const (
	TypeRole            = "RoleDefinition"
	TypeAssignment      = "SpaceRoleAssignment"
	TypeSpace           = "Space"
	TypeDevice          = "Device"
	TypeSensor          = "Sensor"
	TypeFunction        = "UserDefinedFunction"
	TypeUser            = "User"
	TypeKeyStore        = "KeyStore"
	TypeCA              = "CertificateAuthority"
	TypeAzureAssignment = "AzureRoleAssignment"
	TypeAzureRole       = "AzureRoleDefinition"
	TypeAzureDeny       = "AzureDenyAssignment"
)

// Feed is one answer of GET changes: every object that differs, for this caller, between the
// versions From and To, with one change for each. It is meant to be applied as a whole.
type Feed struct {
	Epoch   uint64   `json:"epoch"`
	From    uint64   `json:"from"`
	To      uint64   `json:"to"`
	Changes []Change `json:"changes"`
	// History is the hash of the changes that led to To (model.Version.History).
	History string `json:"history,omitempty"`
}

// Change is the difference of one object: its new state or, without Object, its deletion.
type Change struct {
	Number uint64   `json:"number"` // of the last transaction that changed the object
	Type   string   `json:"type"`
	Access string   `json:"access"` // Create, Update, Delete
	ID     space.ID `json:"id"`
	Object any      `json:"object,omitempty"`
}

// ParsedChange is a Change as read.
type ParsedChange struct {
	Number uint64
	Type   string
	Access model.Access
	ID     space.ID
	Object Object // of Create and Update
}

// ParsedFeed is a Feed as read, checked for order and range. From has no History:
// the server has compared that of the cursor.
type ParsedFeed struct {
	From, To model.Version
	Changes  []ParsedChange
}

// ParseFeed reads an answer of GET changes.
func ParseFeed(data []byte) (ParsedFeed, error) {
	o, err := ParseObject(data)
	if err != nil {
		return ParsedFeed{}, err
	}
	var f ParsedFeed
	epoch, err := o.Uint("epoch")
	if err != nil {
		return ParsedFeed{}, err
	}
	if f.From.Number, err = o.Uint("from"); err != nil {
		return ParsedFeed{}, err
	}
	if f.To.Number, err = o.Uint("to"); err != nil {
		return ParsedFeed{}, err
	}
	f.From.Epoch, f.To.Epoch = epoch, epoch
	if f.To.History, err = o.String("history", 64); err != nil {
		return ParsedFeed{}, err
	}
	if epoch == 0 || f.To.Number < f.From.Number {
		return ParsedFeed{}, invalid("", "a feed needs an epoch, and numbers that do not go back")
	}
	items, err := o.List("changes")
	if err != nil {
		return ParsedFeed{}, err
	}
	last := f.From.Number
	type object struct {
		kind string
		id   space.ID
	}
	seen := make(map[object]bool, len(items))
	for _, in := range items {
		c, err := parseChange(in)
		if err != nil {
			return ParsedFeed{}, err
		}
		if c.Number < last || c.Number <= f.From.Number || c.Number > f.To.Number {
			return ParsedFeed{}, invalid("number", "out of order or out of range")
		}
		// Removals are applied before puts. If the feed put an object and then removed it, the
		// object would come back.
		if seen[object{c.Type, c.ID}] {
			return ParsedFeed{}, invalid("id", "%s %s changes twice in one answer", clip(c.Type), c.ID)
		}
		seen[object{c.Type, c.ID}] = true
		last = c.Number
		f.Changes = append(f.Changes, c)
	}
	return f, nil
}

func parseChange(o Object) (c ParsedChange, err error) {
	if c.Number, err = o.Uint("number"); err != nil {
		return c, err
	}
	if c.Type, err = o.String("type", 64); err != nil {
		return c, err
	}
	if c.ID, err = o.RequiredID("id"); err != nil {
		return c, err
	}
	text, err := o.String("access", 16)
	if err != nil {
		return c, err
	}
	access, ok := ParseAccess(text)
	if !ok || access == model.Read {
		return c, invalid("access", "not one of Create, Update, Delete")
	}
	c.Access = access
	if access == model.Delete {
		return c, nil
	}
	c.Object, ok, err = o.Object("object")
	if err == nil && !ok {
		err = invalid("object", "required")
	}
	return c, err
}

// ParseVersion reads the cursor "{epoch}.{number}".
func ParseVersion(s string) (model.Version, error) {
	epoch, number, ok := strings.Cut(strings.TrimSpace(s), ".")
	if !ok {
		return model.Version{}, invalid("since", "want {epoch}.{number}")
	}
	e, err1 := strconv.ParseUint(epoch, 10, 64)
	n, err2 := strconv.ParseUint(number, 10, 64)
	if err1 != nil || err2 != nil {
		return model.Version{}, invalid("since", "want {epoch}.{number}")
	}
	return model.Version{Epoch: e, Number: n}, nil
}
