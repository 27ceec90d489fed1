package model

import (
	"fmt"

	"github.com/gatehouse/gatehouse/device/space"
)

// Version orders snapshots. Numbers never go back within an epoch; a new
// epoch (a restored server) is accepted only as docs/spec/semantics.md 4.1 says.
type Version struct {
	Epoch  uint64 `json:"epoch"`
	Number uint64 `json:"number"`
	// History is the hash of the changes that led here, as the management API's
	// feed states it; "": unknown, from a server or a store of before it was stated.
	// It tells two histories apart that use the same numbers, as after a restored backup.
	History string `json:"history,omitempty"`
}

// String is "epoch.number".
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Epoch, v.Number) }

// Snapshot is the complete policy at one version. Order does not matter; ids
// are unique within a list.
type Snapshot struct {
	Version     Version
	Roles       []Role
	Assignments []Assignment

	AzureRoles       []AzureRole
	AzureAssignments []AzureAssignment
	AzureDenies      []AzureDeny
}

// ChangeSet leads from exactly version From to version To. An id that is both
// removed and put is replaced.
type ChangeSet struct {
	From, To Version

	PutRoles       []Role
	RemoveRoles    []space.ID
	PutAssignments []Assignment
	RemoveAssigns  []space.ID

	PutAzureRoles       []AzureRole
	RemoveAzureRoles    []space.ID
	PutAzureAssignments []AzureAssignment
	RemoveAzureAssigns  []space.ID
	PutAzureDenies      []AzureDeny
	RemoveAzureDenies   []space.ID
}

// Empty tells whether the set changes nothing but the version.
func (c *ChangeSet) Empty() bool {
	return len(c.PutRoles)+len(c.RemoveRoles)+len(c.PutAssignments)+len(c.RemoveAssigns)+
		len(c.PutAzureRoles)+len(c.RemoveAzureRoles)+len(c.PutAzureAssignments)+
		len(c.RemoveAzureAssigns)+len(c.PutAzureDenies)+len(c.RemoveAzureDenies) == 0
}
