package gateway

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

// The reviewer's questions: why, who can, what can.

// principalNamed turns what an operator writes into a principal: a device or
// module id, a principal key, or {type}:{id}.
func (d *daemon) principalNamed(name string) (*principal.Principal, error) {
	for _, s := range d.broker.Sessions() {
		if s.Principal != nil && (s.Principal.Key == name || s.Connected && s.Principal.Name == name) {
			return s.Principal, nil
		}
	}
	for _, key := range []string{name, "device:" + name} {
		if p, err := d.access.Imagine(key); err == nil {
			return p, nil
		}
	}
	if i, err := identityNamed(name, d.cfg.Instance.Tenant); err == nil {
		return holderOf(name, i), nil
	}
	return nil, &admin.Error{Status: http.StatusNotFound, What: fmt.Sprintf("nobody here is called %q", name), Where: "principal",
		Next: "name a device id, a key from gatehousectl sessions, or UserId:{guid}, ServicePrincipalId:{guid}, DomainName:@{domain}, TenantId:{guid}, UserDefinedFunctionId:{guid}"}
}

// identityNamed reads {type}:{id}, with the home tenant where one is needed and none is given.
func identityNamed(text string, home space.ID) (model.Identity, error) {
	i, err := model.ParseIdentity(text)
	if err != nil {
		if at, err := model.ParseIdentity(text + "/" + home.String()); err == nil {
			return at, nil
		}
	}
	return i, err
}

// holderOf is a principal that matches exactly one identity.
func holderOf(name string, i model.Identity) *principal.Principal {
	p := &principal.Principal{Kind: principal.User, Key: name, Name: name, Subject: model.Subject{Identities: []model.Identity{i}, GroupsKnown: true}}
	switch i.Kind {
	case model.UserID:
		p.Subject.Object = i.Object
	case model.ServicePrincipalID:
		p.Kind, p.Subject.Object = principal.ServicePrincipal, i.Object
	case model.UserDefinedFunctionID:
		p.Kind = principal.Function
	case model.DeviceID:
		p.Kind, p.Node = principal.Device, i.Object
	}
	return p
}

// explain answers "why": by the topic map for an MQTT operation, by the engine for the others.
func (d *daemon) explain(q admin.Question) (admin.Explanation, error) {
	p, err := d.principalNamed(q.Principal)
	if err != nil {
		return admin.Explanation{}, err
	}
	out := admin.Explanation{Question: q, AgeSeconds: max(0, d.staging.Age().Seconds()), Stage: d.staging.Stage().String()}
	if q.Verb != "" {
		x, err := d.access.Explain(p, q.Verb, q.Topic)
		if err != nil {
			return out, badQuestion("explain", err)
		}
		out.Allowed, out.Reason, out.Detail, out.Version = x.Allowed, x.Reason, x.Detail, x.Version
		out.Steps = d.stepRows(p, x.Steps)
		var needs []string
		for _, s := range x.Steps {
			if s.Needs != "" {
				needs = append(needs, s.Needs+" at "+s.At)
			}
		}
		out.Needs = strings.Join(needs, "; ")
		if x.Allowed {
			out.Grant = d.granting(p, x.Steps)
		} else {
			out.Nearest, out.WouldNeed = d.nearest(p, x.Steps)
			for _, s := range x.Steps {
				if !s.OK && s.Check != "" && out.Detail == "" {
					out.Detail = fmt.Sprintf("%s: %s %s does not hold", p.Name, s.Check, s.At)
				}
			}
		}
		return out, nil
	}
	x, err := d.explainOperation(p, q)
	if err != nil {
		return out, err
	}
	out.Allowed, out.Reason, out.Version = x.Allowed, x.Reason.String(), x.Version.String()
	out.Needs = x.Need + " at " + x.At
	out.Detail = x.Denial
	if x.Allowed {
		if len(x.Granting) > 0 {
			g := d.grantRow(&x.Granting[0])
			out.Grant = &g
		}
		return out, nil
	}
	out.Nearest = d.missRows(x.Misses)
	if x.Denial == "" {
		out.WouldNeed = x.OneOf
	}
	return out, nil
}

// stepRows are what was asked on the way to the decision, each with the assignment that grants it.
func (d *daemon) stepRows(p *principal.Principal, steps []access.Step) []admin.Step {
	rows := []admin.Step{}
	for _, s := range steps {
		row := admin.Step{Row: s.Row, Check: s.Check, Needs: s.Needs, At: s.At, OK: s.OK, Reason: s.Reason}
		if s.OK && s.Needs != "" {
			if x, err := d.explainOperation(p, admin.Question{Operation: s.Needs, At: s.At}); err == nil && x.Allowed && len(x.Granting) > 0 {
				g := d.grantRow(&x.Granting[0])
				row.Grant = &g
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// granting is the assignment behind the last step that policy allowed: the
// operation itself, after the right to be connected.
func (d *daemon) granting(p *principal.Principal, steps []access.Step) *admin.Grant {
	for _, s := range slices.Backward(steps) {
		if !s.OK || s.Needs == "" || s.Decision == nil || s.Decision.Assignment.IsZero() {
			continue
		}
		x, err := d.explainOperation(p, admin.Question{Operation: s.Needs, At: s.At})
		if err == nil && x.Allowed && len(x.Granting) > 0 {
			g := d.grantRow(&x.Granting[0])
			return &g
		}
	}
	return nil
}

// nearest are the closest misses of the first step that policy refused, and
// the roles that would allow it.
func (d *daemon) nearest(p *principal.Principal, steps []access.Step) ([]admin.Miss, []string) {
	for _, s := range steps {
		if s.OK || s.Needs == "" {
			continue
		}
		x, err := d.explainOperation(p, admin.Question{Operation: s.Needs, At: s.At})
		if err != nil {
			continue
		}
		return d.missRows(x.Misses), x.OneOf
	}
	return nil, nil
}

func (d *daemon) missRows(misses []authz.Miss) []admin.Miss {
	rows := make([]admin.Miss, len(misses))
	for i := range misses {
		rows[i] = admin.Miss{Grant: d.grantRow(&misses[i].Grant), Why: misses[i].Detail}
	}
	return rows
}

// isAction tells a data action of the Azure model from an operation, whose
// category ("Read ExtendedType/DeviceType") has a slash as well.
func isAction(operation string) bool {
	return strings.Contains(operation, "/") && !strings.Contains(strings.TrimSpace(operation), " ")
}

func (d *daemon) explainOperation(p *principal.Principal, q admin.Question) (authz.Explanation, error) {
	ix, topo := d.policy.Facts()
	if isAction(q.Operation) {
		return ix.ExplainAction(&p.Subject, q.Operation, q.At), nil
	}
	op, at, err := d.operationAt(topo, q)
	if err != nil {
		return authz.Explanation{}, err
	}
	return ix.Explain(&p.Subject, op, at), nil
}

func (d *daemon) operationAt(topo *device.Topology, q admin.Question) (model.Operation, space.Path, error) {
	op, err := model.ParseOperation(q.Operation)
	if err != nil {
		return op, space.Path{}, badQuestion("operation", err)
	}
	at, err := placeNamed(topo, cmp.Or(q.At, d.cfg.Instance.Site.String()))
	return op, at, err
}

// placeNamed reads a space path, or a device id for the place of that device.
func placeNamed(topo *device.Topology, text string) (space.Path, error) {
	if dev, ok := topo.DeviceByHubID(text); ok {
		return topo.DevicePath(dev), nil
	}
	at, err := space.ParsePath(text)
	if err != nil {
		return at, &admin.Error{Status: http.StatusNotFound, What: fmt.Sprintf("%q is neither a device known here nor a space path", text), Where: "place",
			Next: "name a device id, or a path: / or /{guid}/{guid}…"}
	}
	return at, nil
}

// grantRow names a grant; a device that is known by its hub id as well.
func (d *daemon) grantRow(g *authz.Grant) admin.Grant {
	who := g.Holder()
	if g.Who.Kind == model.DeviceID {
		who = d.label(g.Who)
	}
	return admin.Grant{Assignment: g.Assignment.String(), Identity: who, Role: g.RoleLabel(), Scope: g.Place()}
}

func (d *daemon) grantRows(ix *authz.Index, list []authz.Grant) []admin.Grant {
	rows := make([]admin.Grant, len(list))
	for i := range list {
		rows[i] = d.grantRow(&list[i])
		rows[i].Operations = ix.Operations(&list[i])
	}
	return rows
}

func (d *daemon) whoCan(q admin.Question) ([]admin.Grant, error) {
	if q.Verb != "" {
		return nil, &admin.Error{Status: http.StatusBadRequest, What: "who-can is asked for an operation, not for a topic", Where: q.Verb,
			Next: fmt.Sprintf("gatehousectl explain PRINCIPAL %s '%s' lists the operations that the topic needs, and where; ask for those", q.Verb, q.Topic)}
	}
	ix, topo := d.policy.Facts()
	if isAction(q.Operation) {
		return d.grantRows(ix, ix.WhoCanAction(q.Operation, q.At)), nil
	}
	op, at, err := d.operationAt(topo, q)
	if err != nil {
		return nil, err
	}
	return d.grantRows(ix, ix.WhoCan(op, at)), nil
}

func (d *daemon) whatCan(name string) ([]admin.Grant, error) {
	p, err := d.principalNamed(name)
	if err != nil {
		return nil, err
	}
	ix := d.policy.Index()
	return d.grantRows(ix, ix.WhatCan(&p.Subject)), nil
}
