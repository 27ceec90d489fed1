package arm_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/arm"
	"github.com/gatehouse/gatehouse/sync/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	group    = "/subscriptions/5b1d7d5c-0000-4000-8000-000000000001/resourceGroups/rg"
	hub      = group + "/providers/Microsoft.Devices/IotHubs/hub"
	instance = group + "/providers/Microsoft.DeviceUpdate/accounts/a/instances/i"
)

func num(n int) space.ID { return space.MustID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)) }

type object = map[string]any

// azure answers as ARM does, for the lists that a gateway reads. It is what its fields say.
type azure struct {
	mu          sync.Mutex
	assignments []object
	definitions []object
	denies      []object
	permissions []object
	members     map[string][]string // of groups, by principal
	pageSize    int
	asked       []string // the lists that were asked for, with their filters
}

// assignment is a row as ARM writes it, with the nulls of empty members.
func assignment(n int, role, who, kind, scope string) object {
	return object{
		"id": scope + "/providers/Microsoft.Authorization/roleAssignments/" + num(n).String(), "name": num(n).String(),
		"type": "Microsoft.Authorization/roleAssignments",
		"properties": object{
			"roleDefinitionId": "/subscriptions/x/providers/Microsoft.Authorization/roleDefinitions/" + role, "principalId": who,
			"principalType": kind, "scope": scope, "condition": nil, "conditionVersion": nil, "description": nil,
			"createdOn": "2022-01-15T21:08:45.4904312Z", "createdBy": "", "delegatedManagedIdentityResourceId": nil,
		},
	}
}

func definition(id string, actions ...string) object {
	return object{
		"id": "/providers/Microsoft.Authorization/roleDefinitions/" + id, "name": id, "type": "Microsoft.Authorization/roleDefinitions",
		"properties": object{"roleName": "role " + id, "type": "CustomRole", "assignableScopes": []string{"/"}, "permissions": []object{
			{"actions": []string{}, "notActions": []string{}, "dataActions": actions, "notDataActions": []string{}},
		}},
	}
}

func denial(n int, scope string, actions ...string) object {
	return object{
		"id": scope + "/providers/Microsoft.Authorization/denyAssignments/" + num(n).String(), "name": num(n).String(),
		"properties": object{
			"denyAssignmentName": "no", "scope": scope, "doNotApplyToChildScopes": false,
			"permissions":       []object{{"dataActions": actions, "notDataActions": []string{}, "condition": nil}},
			"principals":        []object{{"id": "00000000-0000-0000-0000-000000000000", "type": "SystemDefined"}},
			"excludePrincipals": []object{},
		},
	}
}

func (o *azure) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	scope, what, _ := strings.Cut(r.URL.Path, "/providers/Microsoft.Authorization/")
	q := r.URL.Query()
	filter := q.Get("$filter")
	o.asked = append(o.asked, what+" "+filter)
	if r.Header.Get("Authorization") != "Bearer gateway" || q.Get("api-version") != "2022-04-01" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	rows := map[string][]object{
		"roleAssignments": o.assignments, "roleDefinitions": o.definitions, "denyAssignments": o.denies, "permissions": o.permissions,
	}[what]
	var shown []object
	for _, row := range rows {
		p, _ := row["properties"].(object)
		at, _ := p["scope"].(string)
		if at != "" && at != "/" && !strings.HasPrefix(at, "/providers/") && !strings.HasPrefix(strings.ToLower(scope), strings.ToLower(at)) {
			continue // not at the scope or above it
		}
		if _, who, ok := strings.Cut(filter, "assignedTo('"); ok {
			who = strings.TrimSuffix(who, "')")
			if p["principalId"] != who && !strings.Contains(strings.Join(o.members[who], " "), fmt.Sprint(p["principalId"])) {
				continue
			}
		}
		shown = append(shown, row)
	}
	from, _ := strconv.Atoi(q.Get("$skipToken"))
	page := object{"value": shown}
	if o.pageSize > 0 {
		to := min(from+o.pageSize, len(shown))
		page["value"] = shown[from:to]
		if to < len(shown) {
			q.Set("$skipToken", strconv.Itoa(to))
			q.Set("api-version", "2018-01-01-preview") // what ARM says here does not matter
			page["nextLink"] = "https://" + r.Host + r.URL.Path + "?" + q.Encode()
		}
	}
	if page["value"] == nil || len(shown) == 0 {
		page["value"] = []object{}
	}
	_ = json.NewEncoder(w).Encode(page)
}

type token string

func (t token) Authorization(context.Context) (string, error) { return string(t), nil }

// proxy stands between the gateway and ARM. fault is asked for each request, counted from 1, and
// answers it in ARM's place if it returns true.
func proxy(t *testing.T, behind http.Handler, fault func(n int, w http.ResponseWriter, r *http.Request) bool) *httptest.Server {
	t.Helper()
	var mu sync.Mutex
	n := 0
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		now := n
		mu.Unlock()
		if fault == nil || !fault(now, w, r) {
			behind.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func connect(t *testing.T, s *httptest.Server, change ...func(*arm.Options)) *arm.Source {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	o := arm.Options{
		URL: s.URL, Scopes: []string{hub, instance}, Token: token("Bearer gateway"),
		TLS:   &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		Sleep: func(context.Context, time.Duration) error { return nil },
	}
	for _, f := range change {
		f(&o)
	}
	source, err := arm.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(source.Close)
	return source
}

func read(t *testing.T, s *arm.Source) wire.Full {
	t.Helper()
	f, err := s.Full(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func byID(f *wire.Full, n int) *model.AzureAssignment {
	for i := range f.Policy.AzureAssignments {
		if f.Policy.AzureAssignments[i].ID == num(n) {
			return &f.Policy.AzureAssignments[i]
		}
	}
	return nil
}

func query(r *http.Request) url.Values { return r.URL.Query() }
