package main

import (
	"github.com/casbin/casbin/v2"
	casbinmodel "github.com/casbin/casbin/v2/model"
)

// casbinPeer is RBAC with domains, the domain being the space path: what a
// role may do is stated once, for every domain, and g says who holds the role
// in which domain. The matcher compares the cheap parts first and g last, and
// the groupings are loaded in one batch, as casbin's page on performance
// advises. Inheritance is asked for by asking at each ancestor: a domain
// matching function would scan all domains. No caching enforcer.
type casbinPeer struct {
	world    *world
	enforcer *casbin.Enforcer
}

func newCasbin(w *world) (peer, error) {
	m, err := casbinmodel.NewModelFromString(`
[request_definition]
r = sub, dom, obj, act

[policy_definition]
p = sub, obj, act

[role_definition]
g = _, _, _

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = r.obj == p.obj && r.act == p.act && g(r.sub, p.sub, r.dom)
`)
	if err != nil {
		return nil, err
	}
	e, err := casbin.NewEnforcer(m)
	if err != nil {
		return nil, err
	}
	var rules [][]string
	for _, r := range roleTable() {
		for _, op := range r.allows {
			rules = append(rules, []string{r.name, op.Type.String(), op.Access.String()})
		}
	}
	if _, err := e.AddPolicies(rules); err != nil {
		return nil, err
	}
	seen := map[[3]string]bool{}
	var groups [][]string
	for _, a := range w.assignments {
		g := [3]string{a.Who.String(), roleName(a.Role), a.Path.String()}
		if !seen[g] {
			seen[g] = true
			groups = append(groups, g[:])
		}
	}
	_, err = e.AddGroupingPolicies(groups)
	return &casbinPeer{world: w, enforcer: e}, err
}

func (p *casbinPeer) name() string { return "casbin (RBAC with domains)" }

func (p *casbinPeer) prepare(q question) any {
	var subs []string
	for _, i := range p.world.subjects[q.who].Identities {
		subs = append(subs, i.String())
	}
	return casbinQuestion{subs, ancestors(q.at), q.op.Type.String(), q.op.Access.String()}
}

type casbinQuestion struct {
	subs, doms []string
	obj, act   string
}

func (p *casbinPeer) decide(x any) (bool, error) {
	q := x.(casbinQuestion)
	for _, sub := range q.subs {
		for _, dom := range q.doms {
			ok, err := p.enforcer.Enforce(sub, dom, q.obj, q.act)
			if ok || err != nil {
				return ok, err
			}
		}
	}
	return false, nil
}
