package inspect

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Explain says why a principal may do something or not. An MQTT operation is explained
// by the topic map; an operation of the space model and an Azure data action by the
// authorization engine (authz).
func (n *Inspector) Explain(q admin.Question) (admin.Explanation, error) {
	p, err := n.principalNamed(q.Principal)
	if err != nil {
		return admin.Explanation{}, err
	}
	out := admin.Explanation{Question: q, AgeSeconds: n.age(), Stage: n.o.Aging.Stage().String()}
	if q.Verb != "" {
		err = n.explainTopic(p, &out)
	} else {
		err = n.explainRight(p, &out)
	}
	return out, err
}

// explainTopic fills in the decision about an MQTT operation.
func (n *Inspector) explainTopic(p *principal.Principal, out *admin.Explanation) error {
	x, err := n.o.Access.Explain(p, out.Question.Verb, out.Question.Topic)
	if err != nil {
		return badQuestion("explain", err)
	}
	out.Allowed, out.Reason, out.Detail, out.Version = x.Allowed, x.Reason, x.Detail, x.Version
	out.Steps = n.stepRows(p, x.Steps)
	var needs []string
	for _, s := range x.Steps {
		if s.Needs != "" {
			needs = append(needs, s.Needs+" at "+s.At)
		}
	}
	out.Needs = strings.Join(needs, "; ")
	if x.Allowed {
		out.Grant = n.granting(p, x.Steps)
		return nil
	}
	out.Nearest, out.WouldNeed = n.nearest(p, x.Steps)
	for _, s := range x.Steps {
		if !s.OK && s.Check != "" && out.Detail == "" {
			out.Detail = fmt.Sprintf("%s: %s %s does not hold", p.Name, s.Check, s.At)
		}
	}
	return nil
}

// explainRight fills in the decision about an operation or a data action.
func (n *Inspector) explainRight(p *principal.Principal, out *admin.Explanation) error {
	x, err := n.explainOperation(p, out.Question)
	if err != nil {
		return err
	}
	out.Allowed, out.Reason, out.Version = x.Allowed, x.Reason.String(), x.Version.String()
	out.Needs, out.Detail = x.Need+" at "+x.At, x.Denial
	if x.Allowed {
		out.Grant = n.firstGrant(&x)
		return nil
	}
	out.Nearest = n.missRows(x.Misses)
	if x.Denial == "" {
		out.WouldNeed = x.OneOf
	}
	return nil
}

// firstGrant returns an assignment that grants what was explained, nil if none does.
func (n *Inspector) firstGrant(x *authz.Explanation) *admin.Grant {
	if !x.Allowed || len(x.Granting) == 0 {
		return nil
	}
	g := n.grantRow(&x.Granting[0])
	return &g
}

// stepRows returns the checks on the way to a decision, each with the assignment that grants it.
func (n *Inspector) stepRows(p *principal.Principal, steps []access.Step) []admin.Step {
	rows := []admin.Step{}
	for _, s := range steps {
		row := admin.Step{
			Row:    s.Row,
			Check:  s.Check,
			Needs:  s.Needs,
			At:     s.At,
			OK:     s.OK,
			Reason: s.Reason,
		}
		if s.OK && s.Needs != "" {
			if x, err := n.explainOperation(p, admin.Question{Operation: s.Needs, At: s.At}); err == nil {
				row.Grant = n.firstGrant(&x)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// granting returns the assignment behind the last step that an assignment allowed. That step
// is the operation itself; the right to be connected is checked before it.
func (n *Inspector) granting(p *principal.Principal, steps []access.Step) *admin.Grant {
	for _, s := range slices.Backward(steps) {
		if !s.OK || s.Needs == "" || s.Decision == nil || s.Decision.Assignment.IsZero() {
			continue
		}
		x, err := n.explainOperation(p, admin.Question{Operation: s.Needs, At: s.At})
		if g := n.firstGrant(&x); err == nil && g != nil {
			return g
		}
	}
	return nil
}

// nearest returns the closest misses of the first operation that was refused, and
// the roles that would allow it.
func (n *Inspector) nearest(p *principal.Principal, steps []access.Step) ([]admin.Miss, []string) {
	for _, s := range steps {
		if s.OK || s.Needs == "" {
			continue
		}
		x, err := n.explainOperation(p, admin.Question{Operation: s.Needs, At: s.At})
		if err != nil {
			continue
		}
		return n.missRows(x.Misses), x.OneOf
	}
	return nil, nil
}

func (n *Inspector) missRows(misses []authz.Miss) []admin.Miss {
	rows := make([]admin.Miss, len(misses))
	for i := range misses {
		rows[i] = admin.Miss{Grant: n.grantRow(&misses[i].Grant), Why: misses[i].Detail}
	}
	return rows
}

// isAction reports whether the text is an Azure data action. An operation of the space model
// can have a slash too, but it also has a space: "Read ExtendedType/DeviceType".
func isAction(operation string) bool {
	return strings.Contains(operation, "/") && !strings.Contains(strings.TrimSpace(operation), " ")
}

func (n *Inspector) explainOperation(p *principal.Principal, q admin.Question) (authz.Explanation, error) {
	ix, topo := n.o.Policy.Facts()
	if isAction(q.Operation) {
		return ix.ExplainAction(&p.Subject, q.Operation, q.At), nil
	}
	op, at, err := n.operationAt(topo, q)
	if err != nil {
		return authz.Explanation{}, err
	}
	return ix.Explain(&p.Subject, op, at), nil
}

func (n *Inspector) operationAt(topo *device.Topology, q admin.Question) (model.Operation, space.Path, error) {
	op, err := model.ParseOperation(q.Operation)
	if err != nil {
		return op, space.Path{}, badQuestion("operation", err)
	}
	at, err := n.placeNamed(topo, cmp.Or(q.At, n.o.Instance.Site.String()))
	return op, at, err
}

// grantRow formats a grant. A device of the registry is named with its hub device id.
func (n *Inspector) grantRow(g *authz.Grant) admin.Grant {
	who := g.Holder()
	if g.Who.Kind == model.DeviceID {
		who = n.label(g.Who)
	}
	return admin.Grant{Assignment: g.Assignment.String(), Identity: who, Role: g.RoleLabel(), Scope: g.Place()}
}

func (n *Inspector) grantRows(ix *authz.Index, list []authz.Grant) []admin.Grant {
	rows := make([]admin.Grant, len(list))
	for i := range list {
		rows[i] = n.grantRow(&list[i])
		rows[i].Operations = ix.Operations(&list[i])
	}
	return rows
}

// WhoCan lists the assignments that allow an operation at a place, or a data action at a scope.
func (n *Inspector) WhoCan(q admin.Question) ([]admin.Grant, error) {
	if q.Verb != "" {
		return nil, &admin.Error{
			Status: http.StatusBadRequest,
			What:   "who-can is asked for an operation, not for a topic",
			Where:  q.Verb,
			Next: fmt.Sprintf("gatehousectl explain PRINCIPAL %s '%s' lists the operations that the topic needs, and where; "+
				"ask for those", q.Verb, q.Topic),
		}
	}
	ix, topo := n.o.Policy.Facts()
	if isAction(q.Operation) {
		return n.grantRows(ix, ix.WhoCanAction(q.Operation, q.At)), nil
	}
	op, at, err := n.operationAt(topo, q)
	if err != nil {
		return nil, err
	}
	return n.grantRows(ix, ix.WhoCan(op, at)), nil
}

// WhatCan lists the assignments that a principal holds, each with the operations it allows.
func (n *Inspector) WhatCan(name string) ([]admin.Grant, error) {
	p, err := n.principalNamed(name)
	if err != nil {
		return nil, err
	}
	ix := n.index()
	return n.grantRows(ix, ix.WhatCan(&p.Subject)), nil
}
