package authz

import (
	"cmp"
	"strings"

	"github.com/gatehouse/gatehouse/authz/condition"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// Index is the compiled policy of one version.
//
// Layout: identities are spread by hash over shards of a few; a shard holds
// its identities' grants side by side, each identity's in one run sorted by
// (depth, end of the path, path, id). A second table finds an assignment's
// shard by its id. Both tables are arrays in blocks: a delta copies the blocks
// it touches and shares the rest.
type Index struct {
	version model.Version
	loaded  bool
	hash    hasher

	people     table[shard]
	shift      uint8 // shard number = hash >> shift
	identities int
	byID       table[[]uint64] // fingerprint of the assignment's id <<32 | shard
	grants     int

	realms  realms
	roles   roles
	refused map[space.ID]Problem // assignments

	azure azure
}

// Version of the policy.
func (ix *Index) Version() model.Version { return ix.version }

// Len is the number of assignments of the space model in force.
func (ix *Index) Len() int { return ix.grants }

// shard holds the identities of one hash range.
type shard struct {
	entries []entry
	grants  []grant // in the order of entries
}

// entry is an identity: what of it differs within a realm, and its run of grants.
type entry struct {
	object space.ID
	fp     uint32 // low half of the identity's hash
	realm  uint32
	start  uint32
	n      uint32
	sum    uint64 // fingerprint of the grants and what their roles allow
}

// grant is an assignment as decisions read it.
type grant struct {
	id   space.ID
	at   *place
	key  uint32 // depth and end of the path: see pathKey
	role uint32 // slot in roles
}

// place is a path that assignments share.
type place struct {
	path space.Path
	hash uint64
}

func (sh *shard) of(e *entry) []grant { return sh.grants[e.start : e.start+e.n] }

const segment = 37 // bytes of "/" and a GUID in a canonical path

// pathKey is depth <<24 | 24 bits of the last eight characters at that depth:
// enough to pass over nearly every grant that does not cover a path without
// looking at its path.
func pathKey(path string, depth int) uint32 {
	if depth == 0 {
		return 0
	}
	t := path[depth*segment-8 : depth*segment]
	_ = t[7]
	x := uint64(t[0]) | uint64(t[1])<<8 | uint64(t[2])<<16 | uint64(t[3])<<24 |
		uint64(t[4])<<32 | uint64(t[5])<<40 | uint64(t[6])<<48 | uint64(t[7])<<56
	return uint32(depth)<<24 | uint32(x*0x9E3779B97F4A7C15>>40)
}

// compareGrants orders the grants of one identity: shallow paths first, so
// that the assignment named by a decision does not depend on history.
func compareGrants(a, b *grant) int {
	if c := cmp.Compare(a.key, b.key); c != 0 {
		return c
	}
	if a.at != b.at {
		if c := strings.Compare(a.at.path.String(), b.at.path.String()); c != 0 {
			return c
		}
	}
	return compareIDs(a.id, b.id)
}

// realm is what many identities have in common.
type realm struct {
	kind   model.IdentityKind
	tenant space.ID
	domain string
}

type realms struct {
	list []realm
	byID map[realm]uint32
}

func (ix *Index) identity(e *entry) model.Identity {
	r := &ix.realms.list[e.realm]
	return model.Identity{Kind: r.kind, Object: e.object, Tenant: r.tenant, Domain: r.domain}
}

// find returns the identity's shard and entry; nil when it holds nothing.
func (ix *Index) find(i *model.Identity) (*shard, *entry) {
	h := ix.hash.identity(i)
	sh := ix.people.at(uint32(h >> ix.shift))
	fp := uint32(h)
	for n := range sh.entries {
		e := &sh.entries[n]
		if e.fp == fp && e.object == i.Object {
			r := &ix.realms.list[e.realm]
			if r.kind == i.Kind && r.tenant == i.Tenant && r.domain == i.Domain {
				return sh, e
			}
		}
	}
	return nil, nil
}

// held is the identity's run of grants.
func (ix *Index) held(i *model.Identity) []grant {
	sh, e := ix.find(i)
	if e == nil {
		return nil
	}
	return sh.of(e)
}

// roleSlot is a role that is defined or assigned. Immutable.
type roleSlot struct {
	rights  condition.Rights // empty unless usable
	sum     uint64
	role    model.Role
	defined bool
	err     error // why a defined role was refused
}

type roles struct {
	slots []*roleSlot
	byID  map[space.ID]uint32
}
