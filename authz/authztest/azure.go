package authztest

import (
	"strings"

	"github.com/gatehouse/gatehouse/authz/abac"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

var actions = []string{
	model.IotHubTwinsRead, model.IotHubTwinsWrite, model.IotHubConfigurationsWrite, model.IotHubConfigurationsDelete,
	model.DeviceUpdateManagementRead, model.DeviceUpdateManagementWrite, model.DeviceUpdateUpdatesRead,
	"Microsoft.Devices/IotHubs/fileUpload/notifications/action", "Microsoft.Other/things/read",
}

var patterns = []string{
	"*", "Microsoft.Devices/*", "*/read", "microsoft.devices/iothubs/twins/*", "Microsoft.DeviceUpdate/*/write",
	"*twins*", "Microsoft.Devices/IotHubs/*/*", "Microsoft.*/*/management/read",
}

// azureConditions are conditions with what they mean. Those whose meaning is
// Unknown are well formed, but ask for what cannot be known.
func azureConditions() map[string]func(abac.Query) abac.Truth {
	truth := func(b bool) abac.Truth {
		if b {
			return abac.True
		}
		return abac.False
	}
	writes := func(q abac.Query) bool { return strings.HasSuffix(strings.ToLower(q.Action), "/write") }
	hub := func(q abac.Query) (string, bool) { return strings.CutSuffix(strings.ToLower(q.Scope), "/iothubs/hub") }
	return map[string]func(abac.Query) abac.Truth{
		"(ActionMatches{'*/write'})":    func(q abac.Query) abac.Truth { return truth(writes(q)) },
		"NOT ActionMatches {'*/WRITE'}": func(q abac.Query) abac.Truth { return truth(!writes(q)) },
		"!(ActionMatches{'*/write'}) OR @Request[x:y] StringEquals 'z'": func(q abac.Query) abac.Truth {
			if !writes(q) {
				return abac.True
			}
			return abac.Unknown
		},
		"@Resource[Microsoft.Devices/IotHubs:name] StringEqualsIgnoreCase 'HUB'": func(q abac.Query) abac.Truth {
			if _, ok := hub(q); ok {
				return abac.True
			}
			return abac.Unknown
		},
		"@Resource[Microsoft.Devices/IotHubs:name] StringStartsWithIgnoreCase 'x' AND ActionMatches{'*'}": func(q abac.Query) abac.Truth {
			if _, ok := hub(q); ok {
				return abac.False
			}
			return abac.Unknown
		},
		"@Principal[team] StringEquals 'blue'": func(abac.Query) abac.Truth { return abac.Unknown },
		"SubOperationMatches{'Blob.List'}":     func(abac.Query) abac.Truth { return abac.Unknown },
		"this is no condition":                 func(abac.Query) abac.Truth { return abac.Unknown },
	}
}

func (w *World) azureCondition(percent int) string {
	if !w.chance(percent) {
		return ""
	}
	n := w.rand.IntN(len(w.Conditions))
	for _, text := range sortedKeys(w.Conditions) {
		if n == 0 {
			return text
		}
		n--
	}
	return ""
}

// AzureRole is a random definition.
func (w *World) AzureRole(id space.ID) model.AzureRole {
	r := model.AzureRole{ID: id, Name: "Custom", DataActions: []string{w.mangle(pick(w.rand, patterns)), pick(w.rand, actions)}}
	if w.chance(50) {
		r.NotDataActions = []string{w.mangle(pick(w.rand, patterns))}
	}
	return r
}

func (w *World) principal() model.AzurePrincipal {
	switch n := w.rand.IntN(20); {
	case n < 9:
		return model.AzurePrincipal{ID: pick(w.rand, w.Objects), Type: model.AzureUser}
	case n < 12:
		return model.AzurePrincipal{ID: pick(w.rand, w.Objects), Type: model.AzureServicePrincipal}
	case n < 18:
		return model.AzurePrincipal{ID: pick(w.rand, w.Groups), Type: model.AzureGroup}
	case n < 19:
		return model.AzurePrincipal{Type: model.AzureEveryone}
	}
	return model.AzurePrincipal{ID: pick(w.rand, w.Objects)}
}

func (w *World) atScopes(scope string) []string {
	if !listed(scope) {
		return nil
	}
	return []string{w.mangle(pick(w.rand, w.Scopes[2:])), pick(w.rand, w.Scopes[2:])}
}

// AzureAssignment is a random assignment.
func (w *World) AzureAssignment() model.AzureAssignment {
	scope := pick(w.rand, w.Scopes)
	a := model.AzureAssignment{
		ID:        w.id(),
		Role:      pick(w.rand, w.azureRoles),
		Who:       w.principal(),
		Scope:     w.mangle(scope),
		AtScopes:  w.atScopes(scope),
		Condition: w.azureCondition(25),
	}
	if w.chance(20) { // of a user too, for whom they do not count
		a.Members = []space.ID{pick(w.rand, w.Objects), pick(w.rand, w.Objects)}
	}
	return a
}

// AzureDeny is a random deny assignment.
func (w *World) AzureDeny() model.AzureDeny {
	scope := pick(w.rand, w.Scopes)
	d := model.AzureDeny{
		ID:                      w.id(),
		Name:                    "deny",
		Scope:                   w.mangle(scope),
		AtScopes:                w.atScopes(scope),
		DataActions:             []string{w.mangle(pick(w.rand, patterns))},
		Principals:              []model.AzurePrincipal{w.principal()},
		DoNotApplyToChildScopes: w.chance(30),
		Condition:               w.azureCondition(40),
	}
	if w.chance(40) {
		d.NotDataActions = []string{pick(w.rand, actions)}
	}
	if w.chance(50) {
		d.ExcludePrincipals = []model.AzurePrincipal{w.principal()}
	}
	return d
}

// Query is a random question of the Azure model.
func (w *World) Query() abac.Query {
	return abac.Query{Action: w.mangle(pick(w.rand, actions)), Scope: w.mangle(pick(w.rand, w.Scopes))}
}
