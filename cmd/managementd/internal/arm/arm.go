// Package arm is a development stand-in for Azure Resource Manager: of Microsoft.Authorization
// it serves roleAssignments, roleDefinitions, denyAssignments and permissions (api-version
// 2022-04-01), with Azure's status codes, paging and throttling (docs/spec/azure-today.md D), and
// the lists of subscriptions and tenants that az asks for when it logs in. Callers need the rights
// that they need in Azure, by the assignments that it keeps.
//
// It differs from Azure in three things. Deny assignments can be PUT and DELETEd, because there is
// no blueprint here that makes them. Every management group counts as above every subscription.
// What was changed is in force at once; in Azure that takes up to ten minutes.
package arm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// Options of a Server. Authenticate is required.
type Options struct {
	// Authenticate proves who sent a request, by an Entra token.
	Authenticate func(r *http.Request) (model.Subject, error)
	// Groups are those that a principal is a member of, for assignedTo().
	Groups func(principal space.ID) []space.ID
	// Owners hold the role Owner at "/" of an empty store.
	Owners []Owner
	// File keeps the rows over a restart; "": nothing does.
	File         string
	Tenant       space.ID
	Subscription string // that az shows; "": none
	PageSize     int    // rows of one page; 0: 200
	Now          func() time.Time
	Log          *slog.Logger
}

// Owner is a principal with its type as ARM writes it.
type Owner struct {
	ID   space.ID
	Type string
}

// Server is an http.Handler. Its methods are safe for concurrent use.
type Server struct {
	o Options

	mu    sync.Mutex
	rows  rows                         // guarded by mu
	meter map[space.ID]*[kinds]limiter // guarded by mu
}

// rows is everything that is kept.
type rows struct {
	Assignments map[space.ID]*assignment `json:"assignments"`
	Definitions map[space.ID]*definition `json:"definitions"` // custom ones
	Denials     map[space.ID]*denial     `json:"denials"`
}

type assignment struct {
	ID               space.ID `json:"-"`
	RoleDefinitionID string   `json:"roleDefinitionId"`
	PrincipalID      space.ID `json:"principalId"`
	PrincipalType    string   `json:"principalType"`
	Scope            string   `json:"scope"`
	Condition        *string  `json:"condition"`
	ConditionVersion *string  `json:"conditionVersion"`
	Description      *string  `json:"description"`
	CreatedOn        string   `json:"createdOn"`
	UpdatedOn        string   `json:"updatedOn"`
	CreatedBy        string   `json:"createdBy"`
	UpdatedBy        string   `json:"updatedBy"`
}

// role is the GUID at the end of the role definition's id.
func (a *assignment) role() space.ID {
	id, _ := space.ParseID(a.RoleDefinitionID[strings.LastIndexByte(a.RoleDefinitionID, '/')+1:])
	return id
}

type permission struct {
	Actions        []string `json:"actions"`
	NotActions     []string `json:"notActions"`
	DataActions    []string `json:"dataActions"`
	NotDataActions []string `json:"notDataActions"`
	Condition      *string  `json:"condition,omitempty"`
}

type definition struct {
	ID               space.ID     `json:"-"`
	RoleName         string       `json:"roleName"`
	Type             string       `json:"type"` // BuiltInRole or CustomRole
	Description      string       `json:"description"`
	AssignableScopes []string     `json:"assignableScopes"`
	Permissions      []permission `json:"permissions"`
}

type denial struct {
	ID                      space.ID     `json:"-"`
	Name                    string       `json:"denyAssignmentName"`
	Description             *string      `json:"description"`
	Permissions             []permission `json:"permissions"`
	Scope                   string       `json:"scope"`
	DoNotApplyToChildScopes bool         `json:"doNotApplyToChildScopes"`
	Principals              []who        `json:"principals"`
	ExcludePrincipals       []who        `json:"excludePrincipals"`
	IsSystemProtected       bool         `json:"isSystemProtected"`
	Condition               *string      `json:"condition"`
	ConditionVersion        *string      `json:"conditionVersion"`
}

type who struct {
	ID   space.ID `json:"id"`
	Type string   `json:"type"`
}

// The built-in roles of Azure for resources. Those for data are the engine's.
const (
	ownerRole       = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	contributorRole = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	readerRole      = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	accessRole      = "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"
)

// builtins are the built-in role definitions that are known here.
func builtins() map[space.ID]*definition {
	out := map[space.ID]*definition{}
	add := func(id space.ID, name string, p permission) {
		out[id] = &definition{ID: id, RoleName: name, Type: "BuiltInRole", AssignableScopes: []string{"/"}, Permissions: []permission{p}}
	}
	add(space.MustID(ownerRole), "Owner", permission{Actions: []string{"*"}})
	add(space.MustID(contributorRole), "Contributor", permission{Actions: []string{"*"}, NotActions: []string{
		"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action",
	}})
	add(space.MustID(readerRole), "Reader", permission{Actions: []string{"*/read"}})
	add(space.MustID(accessRole), "User Access Administrator", permission{Actions: []string{"*/read", "Microsoft.Authorization/*"}})
	for _, r := range model.AzureBuiltInRoles() {
		add(r.ID, r.Name, permission{DataActions: r.DataActions, NotDataActions: r.NotDataActions})
	}
	return out
}

// New reads the file and returns a server. It starts nothing.
func New(o Options) (*Server, error) {
	if o.Authenticate == nil {
		return nil, errors.New("arm: Authenticate is required")
	}
	if o.PageSize <= 0 {
		o.PageSize = 200
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Groups == nil {
		o.Groups = func(space.ID) []space.ID { return nil }
	}
	s := &Server{o: o, meter: map[space.ID]*[kinds]limiter{}}
	found, err := s.load()
	if err != nil {
		return nil, err
	}
	if found {
		return s, nil
	}
	for _, who := range o.Owners {
		a := &assignment{
			ID: space.NewID(), RoleDefinitionID: provider + "roleDefinitions/" + ownerRole,
			PrincipalID: who.ID, PrincipalType: who.Type, Scope: "/", CreatedOn: stamp(o.Now()), UpdatedOn: stamp(o.Now()),
		}
		s.rows.Assignments[a.ID] = a
	}
	return s, s.save(&s.rows)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

func (s *Server) load() (found bool, err error) {
	s.rows = rows{map[space.ID]*assignment{}, map[space.ID]*definition{}, map[space.ID]*denial{}}
	if s.o.File == "" {
		return false, nil
	}
	text, err := os.ReadFile(s.o.File)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s.rows)
	}
	if err != nil {
		return false, fmt.Errorf("arm: %s: %w", s.o.File, err)
	}
	for id, a := range s.rows.Assignments {
		a.ID = id
	}
	for id, d := range s.rows.Definitions {
		d.ID = id
	}
	for id, d := range s.rows.Denials {
		d.ID = id
	}
	return true, nil
}

// save writes the file, wholly or not at all.
func (s *Server) save(r *rows) error {
	if s.o.File == "" {
		return nil
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(s.o.File), ".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // fails when the file has been renamed, as it should
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.o.File)
}

// The kinds of request that are throttled apart.
const (
	reads = iota
	writes
	deletes
	kinds
)

type limiter struct{ *rate.Limiter }

var (
	burst  = [kinds]int{250, 200, 200}
	refill = [kinds]rate.Limit{25, 10, 10} // each second
	named  = [kinds]string{"reads", "writes", "deletes"}
)

func kindOf(method string) int {
	switch method {
	case http.MethodPut:
		return writes
	case http.MethodDelete:
		return deletes
	}
	return reads
}

// admit counts a request of the principal. It sets the headers that say what remains, and returns
// false if nothing did.
func (s *Server) admit(w http.ResponseWriter, caller space.ID, method string) bool {
	kind := kindOf(method)
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.meter[caller]
	if m == nil {
		m = new([kinds]limiter)
		for k := range m {
			m[k].Limiter = rate.NewLimiter(refill[k], burst[k])
		}
		s.meter[caller] = m
	}
	now := s.o.Now()
	ok := m[kind].AllowN(now, 1)
	w.Header().Set("x-ms-ratelimit-remaining-subscription-"+named[kind], fmt.Sprint(max(0, int(m[kind].TokensAt(now)))))
	if !ok {
		w.Header().Set("Retry-After", "1")
	}
	return ok
}
