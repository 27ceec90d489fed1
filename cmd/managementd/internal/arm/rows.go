package arm

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/device/space"
)

// kindOfRow is what differs between the three kinds of row.
type kindOfRow struct {
	name    string // roleAssignments
	missing string // error.code for a row that does not exist
	// all are the rows as they are shown, by id.
	all  func(s *Server) map[space.ID]row
	put  func(c *call) *fault
	drop func(r *rows, id space.ID)
}

// row is one row as it is shown.
type row struct {
	scope      string
	principal  space.ID // of an assignment
	principals []who    // of a denial
	name       string   // of a role
	kind       string   // of a role
	properties any
}

var kindsOfRow map[string]*kindOfRow

func init() {
	kindsOfRow = map[string]*kindOfRow{
		"roleassignments": {
			"roleAssignments", "RoleAssignmentNotFound", allAssignments, putAssignment,
			func(r *rows, id space.ID) { delete(r.Assignments, id) },
		},
		"roledefinitions": {
			"roleDefinitions", "RoleDefinitionDoesNotExist", allDefinitions, putDefinition,
			func(r *rows, id space.ID) { delete(r.Definitions, id) },
		},
		"denyassignments": {
			"denyAssignments", "DenyAssignmentNotFound", allDenials, putDenial,
			func(r *rows, id space.ID) { delete(r.Denials, id) },
		},
	}
}

func allAssignments(s *Server) map[space.ID]row {
	out := make(map[space.ID]row, len(s.rows.Assignments))
	for id, a := range s.rows.Assignments {
		out[id] = row{scope: a.Scope, principal: a.PrincipalID, properties: a}
	}
	return out
}

func allDefinitions(s *Server) map[space.ID]row {
	out := map[space.ID]row{}
	add := func(d *definition) {
		shown := *d
		shown.Permissions = nil
		for _, p := range d.Permissions {
			shown.Permissions = append(shown.Permissions, p.whole())
		}
		out[d.ID] = row{name: d.RoleName, kind: d.Type, properties: shown}
	}
	for _, d := range builtins() {
		add(d)
	}
	for _, d := range s.rows.Definitions {
		add(d)
	}
	return out
}

func allDenials(s *Server) map[space.ID]row {
	out := make(map[space.ID]row, len(s.rows.Denials))
	for id, d := range s.rows.Denials {
		out[id] = row{scope: d.Scope, principals: d.Principals, properties: d}
	}
	return out
}

// shown is the row as ARM writes it.
func (k *kindOfRow) shown(id space.ID, r row) map[string]any {
	return map[string]any{
		"id":         strings.TrimSuffix(r.scope, "/") + provider + k.name + "/" + id.String(),
		"name":       id,
		"type":       "Microsoft.Authorization/" + k.name,
		"properties": r.properties,
	}
}

// list answers one page, in order of id. The skip token is the last id of the page before, so that
// rows which come or go between two pages hide no other one.
func (c *call) list(k *kindOfRow) *fault {
	q := c.r.URL.Query()
	keep, f := c.filter(k, q.Get("$filter"))
	if f != nil {
		return f
	}
	all := k.all(c.Server)
	var ids []space.ID
	for id, r := range all {
		if keep(r) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b space.ID) int { return bytes.Compare(a[:], b[:]) })
	if last, err := space.ParseID(skipToken(q)); err == nil {
		ids = slices.DeleteFunc(ids, func(id space.ID) bool { return bytes.Compare(id[:], last[:]) <= 0 })
	}
	page := map[string]any{}
	if len(ids) > c.o.PageSize {
		ids = ids[:c.o.PageSize]
		next := url.Values{"api-version": q["api-version"], "$skipToken": {ids[len(ids)-1].String()}}
		if filter := q.Get("$filter"); filter != "" {
			next.Set("$filter", filter)
		}
		page["nextLink"] = "https://" + c.r.Host + c.r.URL.Path + "?" + next.Encode()
	}
	value := make([]any, len(ids))
	for i, id := range ids {
		value[i] = k.shown(id, all[id])
	}
	page["value"] = value
	answer(c.w, http.StatusOK, page)
	return nil
}

func skipToken(q url.Values) string {
	for name, v := range q {
		if strings.EqualFold(name, "$skipToken") {
			return v[0]
		}
	}
	return ""
}

// filter reads $filter (docs/spec/azure-today.md D.3). Without one a list has the rows at the scope,
// above it and below it.
func (c *call) filter(k *kindOfRow, text string) (func(row) bool, *fault) {
	bad := refuse(http.StatusBadRequest, "UnsupportedQuery", "The filter %q is not supported.", text)
	if k.name == "roleDefinitions" {
		name, byName := argument(text, "roleName eq '", "'")
		kind, byKind := argument(text, "type eq '", "'")
		if text != "" && !byName && !byKind && text != "atScopeAndBelow()" {
			return nil, bad
		}
		return func(r row) bool {
			return (!byName || strings.EqualFold(r.name, name)) && (!byKind || strings.EqualFold(r.kind, kind))
		}, nil
	}
	below := true
	var of []space.ID // principals; nil: of any
	for term := range strings.SplitSeq(text, " and ") {
		term = strings.TrimSpace(term)
		switch {
		case term == "" && text == "":
		case strings.EqualFold(term, "atScope()"):
			below = false
		case of != nil:
			return nil, bad
		default:
			id, groups := argument(term, "assignedTo('", "')")
			if !groups {
				var ok bool
				if id, ok = argument(term, "principalId eq '", "'"); !ok || strings.Contains(text, " and ") {
					return nil, bad
				}
			}
			who, err := space.ParseID(id)
			if err != nil {
				return nil, bad
			}
			if of = []space.ID{who}; groups {
				of = append(of, c.groups(who)...)
			}
		}
	}
	return func(r row) bool {
		if !above(r.scope, c.scope) && (!below || !above(c.scope, r.scope)) {
			return false
		}
		return of == nil || slices.Contains(of, r.principal) ||
			slices.ContainsFunc(r.principals, func(w who) bool { return slices.Contains(of, w.ID) })
	}, nil
}

func argument(term, begin, end string) (string, bool) {
	if len(term) < len(begin)+len(end) || !strings.EqualFold(term[:len(begin)], begin) || !strings.HasSuffix(term, end) {
		return "", false
	}
	return term[len(begin) : len(term)-len(end)], true
}

func (c *call) one(k *kindOfRow) *fault {
	r, ok := k.all(c.Server)[c.id]
	if !ok || r.scope != "" && norm(r.scope) != norm(c.scope) {
		return refuse(http.StatusNotFound, k.missing, "There is no row %s at %q.", c.id, c.scope)
	}
	answer(c.w, http.StatusOK, k.shown(c.id, r))
	return nil
}

// remove answers 200 with the row that was, and 204 if there was none.
func (c *call) remove(k *kindOfRow) *fault {
	r, ok := k.all(c.Server)[c.id]
	if !ok || r.scope != "" && norm(r.scope) != norm(c.scope) {
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return c.commit(func(next *rows) { k.drop(next, c.id) }, http.StatusOK, k.shown(c.id, r))
}

// commit makes a change, and undoes it if it cannot be kept.
func (c *call) commit(change func(next *rows), status int, body any) *fault {
	next := c.rows.clone()
	change(&next)
	if err := c.save(&next); err != nil {
		c.o.Log.Error("arm: not stored", "err", err)
		return refuse(http.StatusInternalServerError, "InternalServerError", "The change could not be stored.")
	}
	c.rows = next
	c.o.Log.Info("arm: changed", "method", c.r.Method, "path", c.r.URL.Path, "by", c.caller.Object)
	answer(c.w, status, body)
	return nil
}

func (c *call) body(into any) *fault {
	var b struct {
		Properties json.RawMessage `json:"properties"`
	}
	err := json.NewDecoder(c.r.Body).Decode(&b)
	if err == nil {
		err = json.Unmarshal(b.Properties, into)
	}
	if err != nil {
		return refuse(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: want {\"properties\": {…}}.")
	}
	return nil
}
