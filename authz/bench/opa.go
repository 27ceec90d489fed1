package main

import (
	"context"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// opaPeer is a prepared query over data that is keyed so that each step is a
// lookup, with the input parsed beforehand and the store keeping values in the
// evaluator's own form: what OPA's page on performance advises.
type opaPeer struct {
	world *world
	query rego.PreparedEvalQuery
}

const opaPolicy = `package gatehouse

default allow := false

allow if {
	some who in input.identities
	held := data.held[who]
	some at in input.ancestors
	some role in held[at]
	data.roles[role][input.action]
}
`

func newOPA(w *world) (peer, error) {
	roles := map[string]any{}
	for _, r := range roleTable() {
		actions := map[string]any{}
		for _, op := range r.allows {
			actions[action(op)] = true
		}
		roles[r.name] = actions
	}
	held := map[string]any{}
	for _, a := range w.assignments {
		who, at := a.Who.String(), a.Path.String()
		places, ok := held[who].(map[string]any)
		if !ok {
			places = map[string]any{}
			held[who] = places
		}
		list, _ := places[at].([]any)
		places[at] = append(list, roleName(a.Role))
	}
	store := inmem.NewFromObjectWithOpts(map[string]any{"roles": roles, "held": held}, inmem.OptReturnASTValuesOnRead(true))
	query, err := rego.New(
		rego.Query("data.gatehouse.allow"), rego.Module("gatehouse.rego", opaPolicy),
		rego.Store(store), rego.StoreReadAST(true),
	).PrepareForEval(context.Background())
	return &opaPeer{w, query}, err
}

func (p *opaPeer) name() string { return "OPA (rego, prepared)" }

func (p *opaPeer) prepare(q question) any {
	var who []any
	for _, i := range p.world.subjects[q.who].Identities {
		who = append(who, i.String())
	}
	var up []any
	for _, a := range ancestors(q.at) {
		up = append(up, a)
	}
	return ast.MustInterfaceToValue(map[string]any{"identities": who, "ancestors": up, "action": action(q.op)})
}

func (p *opaPeer) decide(x any) (bool, error) {
	rs, err := p.query.Eval(context.Background(), rego.EvalParsedInput(x.(ast.Value)))
	return rs.Allowed(), err
}
