package authz

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"

	"github.com/gatehouse/gatehouse/authz/condition"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// hasher spreads ids over shards and fingerprints rights. It is keyed at
// random, so that nobody who can create assignments can make many of them
// fall into one shard or give two different rights one fingerprint.
type hasher struct {
	seed maphash.Seed
	k    [4]uint64
}

func newHasher() hasher {
	h := hasher{seed: maphash.MakeSeed()}
	for i := range h.k {
		h.k[i] = maphash.Comparable(h.seed, i)
	}
	return h
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func halves(id *space.ID) (uint64, uint64) {
	return binary.LittleEndian.Uint64(id[:8]), binary.LittleEndian.Uint64(id[8:])
}

func (h *hasher) id(id *space.ID) uint64 {
	a, b := halves(id)
	return mix(mix(a^h.k[0], b^h.k[1])^h.k[2], h.k[3])
}

func (h *hasher) identity(i *model.Identity) uint64 {
	a, b := halves(&i.Object)
	x := h.object(a, b, i.Kind)
	if c, d := halves(&i.Tenant); c|d != 0 || i.Domain != "" {
		x = h.tenant(x, c, d, i.Domain)
	}
	return x
}

// object hashes an identity that has neither tenant nor domain, as most. One round
// alone would distribute ids that were counted up unevenly.
func (h *hasher) object(a, b uint64, kind model.IdentityKind) uint64 {
	return mix(mix(a^h.k[0], b^h.k[1]^uint64(kind)<<56)^h.k[2], h.k[3]|1)
}

// tenant continues the hash x, which object returned, with tenant and domain.
func (h *hasher) tenant(x, a, b uint64, domain string) uint64 {
	if domain != "" {
		x += maphash.String(h.seed, domain)
	}
	return mix(x^a^h.k[2], b^h.k[3])
}

func (h *hasher) text(s string) uint64 { return maphash.String(h.seed, s) }

// rights fingerprints what a role allows.
func (h *hasher) rights(r *condition.Rights) uint64 {
	x := h.k[2]
	for _, w := range r {
		x = mix(x^h.k[0]^w, h.k[1]|1)
	}
	return x
}

// grant fingerprints one grant. The id of its role is part of it even if the
// role is not defined, because a decision names it. The fingerprint of a set of
// grants is the sum of those of its elements.
func (h *hasher) grant(g *grant, role *roleSlot) uint64 {
	return mix(h.id(&g.id)^maphash.String(h.seed, string(g.path)), h.id(&role.role.ID)+role.sum)
}

func compareIDs(a, b space.ID) int { return bytes.Compare(a[:], b[:]) }
