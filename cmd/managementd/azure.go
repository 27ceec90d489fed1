package main

import (
	"log/slog"
	"net/http"
	"path/filepath"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/cmd/managementd/internal/arm"
	"github.com/gatehouse/gatehouse/device/space"
)

// newARM makes the development Azure Resource Manager, whose rows are kept beside the store.
func newARM(s settings, callers *callers, log *slog.Logger) (*arm.Server, error) {
	o := arm.Options{
		Authenticate: callers.authenticateARM,
		Groups: func(principal space.ID) []space.ID {
			for _, a := range s.Issuer.Accounts {
				if a.ObjectID == principal {
					return a.Groups
				}
			}
			return nil
		},
		File:         filepath.Join(string(s.State), "azure-rbac.json"),
		Tenant:       s.Tenant,
		Subscription: s.ARM.Subscription,
		PageSize:     s.ARM.PageSize,
		Log:          log,
	}
	if !s.Owner.ObjectID.IsZero() {
		kind := "User"
		if k, _ := model.ParseIdentityKind(s.Owner.Type); k == model.ServicePrincipalID {
			kind = "ServicePrincipal"
		}
		o.Owners = []arm.Owner{{ID: s.Owner.ObjectID, Type: kind}}
	}
	return arm.New(o)
}

// withARM sends to Azure Resource Manager what is for it. Its paths begin with the scope, so no
// pattern of a mux finds them.
func withARM(azure *arm.Server, rest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if arm.Matches(r) {
			azure.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	})
}
