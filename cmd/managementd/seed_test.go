package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/management"
)

// An empty store with an owner: the owner may fill it, nobody else may.
func TestOwnerOfAnEmptyStore(t *testing.T) {
	home, alice, mallory := space.NewID(), space.NewID(), space.NewID()
	who := alice
	api, err := management.New(management.Options{Store: management.NewMemoryStore(), HomeTenant: home,
		Authenticate: func(*http.Request) (management.Caller, error) {
			return management.Caller{Subject: model.Subject{Identities: []model.Identity{{Kind: model.UserID, Object: who, Tenant: home}}}}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	s := settings{Tenant: home, Owner: owner{ObjectID: alice, Type: "UserId"}}
	for range 2 { // the second start changes nothing
		if err := seedOnce(api, s, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	}
	if n := api.Version().Number; n != 1 {
		t.Errorf("version %d, want 1: the owner is made once", n)
	}
	post := func(id space.ID) int {
		who = id
		body := strings.NewReader(`{"name":"Harbour House"}`)
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/management/api/v1.0/spaces", body)
		req.Header.Set("Content-Type", "application/json")
		answer := httptest.NewRecorder()
		api.ServeHTTP(answer, req)
		return answer.Code
	}
	if got := post(alice); got != http.StatusCreated {
		t.Errorf("the owner creates a space: %d", got)
	}
	if got := post(mallory); got != http.StatusForbidden {
		t.Errorf("somebody else creates a space: %d", got)
	}
}
