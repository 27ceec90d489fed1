// Package generation holds the values by which policy and registry pass between
// the package that puts them into force (gateway/policy) and the one that keeps
// them over a restart (gateway/store), so that neither needs to know the other.
//
// A generation is everything that the gateway decides by, at one version of
// the cloud's. Policy and registry are kept as one, because a policy beside the
// registry of another version could grant what neither version grants.
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
	// Taken is when the cloud stated it, by the clock's high-water mark: the
	// age of the cached policy counts from here, also after a restart.
	Taken    time.Time
	Policy   model.Snapshot
	Registry device.Data
}

// Delta leads from the generation of version Policy.From to that of Policy.To.
type Delta struct {
	Taken    time.Time // as Full.Taken, of the generation that it leads to
	Policy   model.ChangeSet
	Registry device.Changes
}

// What a store answers to a Delta that it cannot take and to which a Full one
// is the remedy. The errors may be wrapped; the stored generation is unchanged.
var (
	// ErrVersion: the stored generation is not of version Delta.Policy.From.
	ErrVersion = errors.New("the change does not start at the stored version")
	// ErrTooLarge: the change does not fit into one transaction. A full
	// generation is written in batches.
	ErrTooLarge = errors.New("the change is too large for one transaction")
)
