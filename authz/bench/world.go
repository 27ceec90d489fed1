package main

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// world is a campus: buildings of floors of rooms, devices, and users of a few
// verified domains, with random assignments of the nine roles.
type world struct {
	paths       []space.Path
	subjects    []*model.Subject // devices first
	identities  []model.Identity // all that are assigned to
	assignments []model.Assignment
	bySubject   map[model.Identity]int // by a subject's own identity
	rand        *rand.Rand
}

// question is one decision to make.
type question struct {
	who int // in subjects
	op  model.Operation
	at  space.Path
}

const (
	spaces  = 100_000
	devices = 100_000
	users   = 20_000
	domains = 200
)

// operations are what a gateway asks for: CONNECT, publish, subscribe, administration.
var operations = []model.Operation{
	{Access: model.Read, Type: model.Device}, {Access: model.Update, Type: model.Device},
	{Access: model.Read, Type: model.Sensor}, {Access: model.Create, Type: model.Sensor}, {Access: model.Update, Type: model.Sensor},
	{Access: model.Read, Type: model.Space, Category: model.WithoutSpecifiedRbacResourceTypes},
	{Access: model.Read, Type: model.KeyStore}, {Access: model.Read, Type: model.System},
}

func newWorld(assignments int) *world {
	w := &world{rand: rand.New(rand.NewPCG(7, uint64(assignments))), bySubject: map[model.Identity]int{}}
	site := space.Root.Join(w.id())
	w.paths = append(w.paths, site)
	for len(w.paths) < spaces {
		building := site.Join(w.id())
		w.paths = append(w.paths, building)
		for range 10 {
			floor := building.Join(w.id())
			w.paths = append(w.paths, floor)
			for range 20 {
				w.paths = append(w.paths, floor.Join(w.id()))
			}
		}
	}
	w.paths = w.paths[:spaces]
	for range devices {
		w.add(model.Identity{Kind: model.DeviceID, Object: w.id()})
	}
	tenant := w.id()
	var domain []model.Identity
	for n := range domains {
		domain = append(domain, model.Identity{
			Kind:   model.DomainName,
			Domain: "@d" + string(rune('a'+n%26)) + string(rune('a'+n/26)) + ".example",
			Tenant: tenant,
		})
	}
	for n := range users {
		w.add(model.Identity{Kind: model.UserID, Object: w.id(), Tenant: tenant}, domain[n%domains])
	}
	w.identities = append(w.identities, domain...)
	roles := model.SystemRoles()
	for range assignments {
		w.assignments = append(w.assignments, model.Assignment{
			ID: w.id(), Role: roles[w.rand.IntN(len(roles))].ID, Who: w.holder(), Path: w.path(),
		})
	}
	return w
}

// holder is whom an assignment names: a device or user, one time in a hundred a domain.
func (w *world) holder() model.Identity {
	if w.rand.IntN(100) == 0 {
		return w.identities[devices+users+w.rand.IntN(domains)]
	}
	return w.identities[w.rand.IntN(devices+users)]
}

func (w *world) path() space.Path { return w.paths[w.rand.IntN(len(w.paths))] }

func (w *world) id() (id space.ID) {
	binary.LittleEndian.PutUint64(id[:8], w.rand.Uint64())
	binary.LittleEndian.PutUint64(id[8:], w.rand.Uint64())
	return id
}

func (w *world) add(ids ...model.Identity) {
	w.identities = append(w.identities, ids[0])
	w.bySubject[ids[0]] = len(w.subjects)
	s := new(model.Subject)
	s.Is(ids...)
	if ids[0].Kind == model.UserID {
		s.Object = ids[0].Object
	}
	w.subjects = append(w.subjects, s)
}

// random is a question about anybody, anywhere.
func (w *world) random() question {
	return question{w.rand.IntN(len(w.subjects)), operations[w.rand.IntN(len(operations))], w.path()}
}

// questions are n random ones; every other one is asked at or below a place
// where the subject holds something, so that about half of those are allowed.
func (w *world) questions(n int) []question {
	out := make([]question, 0, n)
	for len(out) < n {
		q := w.random()
		if len(out)%2 == 0 {
			a := w.assignments[w.rand.IntN(len(w.assignments))]
			who, ok := w.bySubject[a.Who]
			if !ok {
				continue
			}
			q.who, q.at = who, a.Path
			// A fresh copy, as a question from outside has: not the policy's own string.
			q.at = space.MustPath(q.at.String())
		}
		out = append(out, q)
	}
	return out
}
