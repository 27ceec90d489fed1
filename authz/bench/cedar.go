package main

import (
	"fmt"
	"strings"

	cedar "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/gatehouse/gatehouse/device/space"
)

// cedarPeer follows Cedar's advice for roles on resources: membership, not a
// policy for each assignment. Holding a role at a space is being in a group
// that the space names in an attribute; one policy for each role says what
// its members may do, there and (through the parent attribute, unrolled to the
// depth of the tree, for Cedar has no recursion) below.
type cedarPeer struct {
	world    *world
	policies *cedar.PolicySet
	entities types.EntityMap
}

const cedarDepth = 4 // site, building, floor, room

func newCedar(w *world) (peer, error) {
	var text strings.Builder
	for _, r := range roleTable() {
		var actions, holds []string
		for _, op := range r.allows {
			actions = append(actions, fmt.Sprintf("Action::%q", action(op)))
		}
		at, guard := "resource", ""
		for range cedarDepth {
			holds = append(holds, fmt.Sprintf("(%s%s has %s && principal in %s.%s)", guard, at, r.name, at, r.name))
			guard += at + " has parent && "
			at += ".parent"
		}
		fmt.Fprintf(
			&text,
			"permit(principal, action in [%s], resource) when { %s };\n",
			strings.Join(actions, ", "),
			strings.Join(holds, " || "),
		)
	}
	policies, err := cedar.NewPolicySetFromBytes("roles", []byte(text.String()))
	if err != nil {
		return nil, err
	}
	p := &cedarPeer{world: w, policies: policies, entities: types.EntityMap{}}
	p.load()
	return p, nil
}

func spaceUID(path space.Path) types.EntityUID {
	return types.NewEntityUID("Space", types.String(path.String()))
}

func (p *cedarPeer) load() {
	groupsOf := map[string][]types.EntityUID{}
	attributes := map[space.Path]types.RecordMap{}
	for _, path := range p.world.paths {
		attributes[path] = types.RecordMap{}
		if up, ok := path.Parent(); ok && !up.IsRoot() {
			attributes[path]["parent"] = spaceUID(up)
		}
	}
	for _, a := range p.world.assignments {
		role := roleName(a.Role)
		group := types.NewEntityUID("Group", types.String(role+"@"+a.Path.String()))
		attributes[a.Path][types.String(role)] = group
		groupsOf[a.Who.String()] = append(groupsOf[a.Who.String()], group)
		p.entities[group] = types.Entity{UID: group}
	}
	for path, a := range attributes {
		uid := spaceUID(path)
		p.entities[uid] = types.Entity{UID: uid, Attributes: types.NewRecord(a)}
	}
	for _, s := range p.world.subjects {
		for i, identity := range s.Identities {
			uid := types.NewEntityUID("Principal", types.String(identity.String()))
			parents := groupsOf[identity.String()]
			if i == 0 && len(s.Identities) > 1 { // a user is in its domain
				parents = append(
					parents[:len(parents):len(parents)],
					types.NewEntityUID("Principal", types.String(s.Identities[1].String())),
				)
			}
			p.entities[uid] = types.Entity{UID: uid, Parents: types.NewEntityUIDSet(parents...)}
		}
	}
}

func (p *cedarPeer) name() string { return "cedar-go (membership)" }

func (p *cedarPeer) prepare(q question) any {
	return cedar.Request{
		Principal: types.NewEntityUID("Principal", types.String(p.world.subjects[q.who].Identities[0].String())),
		Action:    types.NewEntityUID("Action", types.String(action(q.op))),
		Resource:  spaceUID(q.at),
	}
}

func (p *cedarPeer) decide(x any) (bool, error) {
	ok, diagnostic := cedar.Authorize(p.policies, p.entities, x.(cedar.Request))
	if len(diagnostic.Errors) > 0 {
		return false, fmt.Errorf("cedar: %v", diagnostic.Errors[0])
	}
	return ok == cedar.Allow, nil
}
