// Package generation holds the values by which policy and registry pass between
// the package that puts them into force (gateway/policy) and the one that keeps
// them over a restart (gateway/store), so that neither needs to know the other.
//
// A generation is everything that the gateway's decisions depend on, as the cloud
// stated it at one version. Policy and registry are kept as one value, because the
// policy of one version with the registry of another could grant what neither
// version grants.
package generation

import (
	"errors"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
)

// Full is a complete generation.
type Full struct {
	Version model.Version
	// Taken is when the cloud stated it, by the gateway's trusted time
	// (offline.Clock). The age of the cached policy counts from then, also after
	// a restart.
	Taken time.Time
	// Resets is how often an operator had reset that time by then: a later reset says
	// that Taken may be in the future.
	Resets   uint64
	Policy   model.Snapshot
	Registry device.Data
}

// Delta is the change from the generation of version Policy.From to that of Policy.To.
type Delta struct {
	Taken    time.Time // Full.Taken of the generation at Policy.To
	Resets   uint64    // and its Full.Resets
	Policy   model.ChangeSet
	Registry device.Changes
}

// The errors of a store that cannot take a Delta, although it would take a Full generation.
// They may be wrapped. The stored generation is then unchanged.
var (
	// ErrVersion: the stored generation is not of version Delta.Policy.From.
	ErrVersion = errors.New("the change does not start at the stored version")
	// ErrTooLarge: the change does not fit into one transaction, in which a
	// Delta is written. A Full generation is written in several.
	ErrTooLarge = errors.New("the change is too large for one transaction")
)
