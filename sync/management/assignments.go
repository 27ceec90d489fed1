package management

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// getRoles answers every authenticated caller: the roles are the same in
// every instance, and public.
func (c *call) getRoles() error {
	var items []item
	for _, r := range model.SystemRoles() {
		items = append(items, item{r.ID, r.Name, func() any { return wire.FromRole(r) }})
	}
	return c.page(items)
}

// getAssignments lists the assignments at a path, or from it down. With site=
// (an extension) the view adds those of the site's ancestors.
func (c *call) getAssignments() error {
	text := c.query.get("path")
	if text == "" {
		return badRequest("path: required.")
	}
	at, err := space.ParsePath(text)
	if err != nil {
		return badRequest("path: want / or /{guid}/{guid}…")
	}
	down := false
	switch strings.ToLower(c.query.get("traverse")) {
	case "", "none":
	case "down":
		down = true
	default:
		return badRequest("traverse: only Down is supported.")
	}
	personal := strings.EqualFold(c.query.get("personal"), "true")
	object := c.query.get("objectId")
	var items []item
	for id, a := range c.state.assignments.all() {
		switch {
		case a.Path != at && !(down && at.Covers(a.Path)):
			continue
		case object != "" && !strings.EqualFold(object, wire.FromAssignment(*a).ObjectID):
			continue
		case personal && !c.isMe(a.Who):
			continue
		// A caller may always see its own assignments.
		case !c.view.sees(wire.TypeAssignment, a.Path) && !(personal && c.isMe(a.Who)):
			continue
		}
		items = append(items, item{id, "", func() any { return wire.FromAssignment(*a) }})
	}
	return c.page(items)
}

func (c *call) isMe(who model.Identity) bool {
	for _, i := range c.caller.Subject.Identities {
		if i == who {
			return true
		}
	}
	return false
}

func (c *call) postAssignment() error {
	o, err := assignments.body(c)
	if err != nil {
		return err
	}
	a, err := wire.ParseNewAssignment(o, c.o.HomeTenant)
	if err != nil {
		return err
	}
	a.ID = space.NewID()
	service := false
	err = c.update(func(t *tx) error {
		// The right is checked before anything else, so that a caller without
		// it learns nothing about the tree.
		if err := c.need(t, model.Create, model.SpaceRoleAssignment, a.Path); err != nil {
			return err
		}
		if err := t.checkAssignment(&a); err != nil {
			return err
		}
		service = a.Who.Kind == model.UserID && c.o.ServicePrincipal != nil && c.o.ServicePrincipal(a.Who.Object)
		for _, other := range t.draft.assignments.all() {
			if grantOf(other) == grantOf(&a) {
				return errGrantExists
			}
			service = service || a.Who.Kind == model.UserID && other.Who.Kind == model.ServicePrincipalID && other.Who.Object == a.Who.Object
		}
		t.putAssignment(&a)
		return nil
	})
	if err != nil {
		return err
	}
	if service {
		c.w.Header().Add("Warning", `299 - "The object is a service principal: its tokens hold what is assigned to it `+
			`as ServicePrincipalId, so that this assignment as UserId never matches."`)
	}
	if a.Path.IsRoot() {
		c.w.Header().Add("Warning", `299 - "An assignment at / is in force everywhere; its use is discouraged."`)
	}
	c.log.Info("role assignment created", "id", a.ID, "role", a.Role, "who", a.Who, "path", a.Path, "by", c.caller.Name)
	return c.created("roleassignments", a.ID)
}

// checkAssignment checks that everything that a new assignment names exists.
func (t *tx) checkAssignment(a *model.Assignment) error {
	known := false
	for _, r := range model.SystemRoles() {
		known = known || r.ID == a.Role
	}
	if !known {
		return notFound("The role does not exist.")
	}
	if !a.Path.IsRoot() && t.paths[a.Path.Space()] != a.Path {
		return notFound("The path does not exist.")
	}
	ok := true
	switch a.Who.Kind {
	case model.DeviceID:
		_, ok = t.draft.devices.get(a.Who.Object)
	case model.UserDefinedFunctionID:
		_, ok = t.draft.functions.get(a.Who.Object)
	}
	if !ok {
		return notFound("The object of the assignment does not exist.")
	}
	return nil
}

// granted is what an assignment grants to whom and where; no two assignments may have the same.
type granted struct {
	role space.ID
	who  model.Identity
	path space.Path
}

func grantOf(a *model.Assignment) granted { return granted{a.Role, a.Who, a.Path} }

var errGrantExists = badRequest("SpaceRoleAssignment already exists.")

func (c *call) deleteAssignment() error {
	var id space.ID
	forced := strings.EqualFold(c.query.get("force"), "true")
	err := assignments.change(c, model.Delete, func(t *tx, a *model.Assignment) error {
		id = a.ID
		if !forced && t.lastAdministrator(a) {
			return errLastAdministrator
		}
		t.removeAssignment(a)
		return nil
	})
	if err != nil {
		return err
	}
	c.log.Info("role assignment deleted", "id", id, "by", c.caller.Name)
	return c.noContent(nil)
}

// lastAdministrator tells whether a is the only assignment left by which
// anybody is Space Administrator at "/", who alone can make another one.
func (t *tx) lastAdministrator(a *model.Assignment) bool {
	administers := func(b *model.Assignment) bool { return b.Role == administrator && b.Path.IsRoot() }
	if !administers(a) {
		return false
	}
	for id, other := range t.draft.assignments.all() {
		if id != a.ID && administers(other) {
			return false
		}
	}
	return true
}

var (
	administrator        = space.MustID(model.SpaceAdministratorRole)
	errLastAdministrator = &failure{http.StatusConflict, "409.600.000.000",
		"This is the last Space Administrator at /: without one nobody can assign a role there again. " +
			"Assign another one first, or add force=true to the query."}
)

// checkAssignment answers whether a user holds a right (docs/spec/management-api.md
// 3.3). A caller may ask about itself; asking about others needs the right to read
// assignments there.
func (c *call) checkAssignment() error {
	user, err := space.ParseID(c.query.get("userId"))
	if err != nil || user.IsZero() {
		return badRequest("userId: a GUID is required.")
	}
	at, err := space.ParsePath(c.query.get("path"))
	if err != nil {
		return badRequest("path: want / or /{guid}/{guid}…")
	}
	access, ok := wire.ParseAccess(c.query.get("accessType"))
	if !ok {
		return badRequest("accessType: Read, Create, Update or Delete is expected.")
	}
	resource, err := model.ParseResourceType(c.query.get("resourceType"))
	if err != nil {
		return badRequest("resourceType: not a resource type.")
	}
	subject, err := c.checkedUser(user)
	if err != nil {
		return err
	}
	// A tenant or domain that is not the caller's own counts as another user.
	others := slices.ContainsFunc(subject.Identities, func(i model.Identity) bool { return !c.isMe(i) })
	if others && !c.view.mayRead(model.SpaceRoleAssignment, at) {
		return forbidden()
	}
	return c.ok(c.state.exists(at) && c.state.policy.allowed(subject, access, resource, at))
}

// checkedUser is the subject that a check is about. What the question leaves open is
// filled in by what is known: about oneself by the caller's token; about a user with a
// record here by its UPN, as one of the home tenant. Of anybody else the home tenant is
// meant, but only with a given one does the user count as a member of it.
func (c *call) checkedUser(user space.ID) (*model.Subject, error) {
	tenantText, domainText := c.query.get("tenantId"), c.query.get("domain")
	if tenantText == "" && domainText == "" && c.isUser(user) {
		return &c.caller.Subject, nil
	}
	tenant, member := c.o.HomeTenant, false
	if tenantText != "" {
		id, err := space.ParseID(tenantText)
		if err != nil || id.IsZero() {
			return nil, badRequest("tenantId: not a GUID.")
		}
		tenant, member = id, true
	}
	if known, ok := c.state.users.get(user); ok && tenant == c.o.HomeTenant {
		member = true
		if domainText == "" {
			domainText = known.UPN
		}
	}
	s := &model.Subject{Identities: []model.Identity{{Kind: model.UserID, Object: user, Tenant: tenant}}, Object: user}
	if member {
		s.Identities = append(s.Identities, model.Identity{Kind: model.TenantID, Object: tenant})
	}
	if domainText != "" {
		if i := strings.LastIndexByte(domainText, '@'); i > 0 {
			domainText = domainText[i:] // a UPN
		}
		domain, err := wire.ParseDomain(domainText)
		if err != nil {
			return nil, badRequest("domain: @example.com or a UPN is expected.")
		}
		s.Identities = append(s.Identities, model.Identity{Kind: model.DomainName, Domain: domain, Tenant: tenant})
	}
	return s, nil
}

// isUser tells whether the caller is the user with an object id.
func (c *call) isUser(id space.ID) bool {
	return slices.ContainsFunc(c.caller.Subject.Identities, func(i model.Identity) bool {
		return i.Kind == model.UserID && i.Object == id
	})
}
