package authz_test

import (
	"testing"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// What a grant allows is said in words, and a grant of a refused role, or under
// a condition that cannot be evaluated, is not taken for one.
func TestOperationsOfAGrant(t *testing.T) {
	const scope = "/subscriptions/s"
	who := model.Identity{Kind: model.DeviceID, Object: fixed(1)}
	policy := model.Snapshot{Roles: model.SystemRoles(), AzureRoles: model.AzureBuiltInRoles()}
	want := map[space.ID]string{}
	assign := func(n byte, role space.ID, text string) {
		policy.Assignments = append(policy.Assignments, model.Assignment{ID: fixed(n), Role: role, Who: who, Path: space.Root})
		want[fixed(n)] = text
	}
	azure := func(n byte, role space.ID, condition, text string) {
		policy.AzureAssignments = append(policy.AzureAssignments, model.AzureAssignment{
			ID: fixed(n), Role: role, Scope: scope, Condition: condition, Who: model.AzurePrincipal{ID: fixed(2), Type: model.AzureUser}})
		want[fixed(n)] = text
	}
	custom := func(n byte, permissions ...model.Permission) space.ID {
		policy.Roles = append(policy.Roles, model.Role{ID: fixed(n), Name: "Custom", Permissions: permissions})
		return fixed(n)
	}
	assign(10, custom(60, model.Permission{Actions: model.AllAccess}), "everything")
	assign(11, custom(61, model.Permission{Actions: model.Read | model.Update, Condition: "@Resource.Type Any_of {'Device', 'Sensor'}"},
		model.Permission{Actions: model.Delete, Condition: "@Resource.Type == 'Sensor'"}), "Read,Update Device; Read,Update,Delete Sensor")
	assign(
		12,
		custom(62, model.Permission{Actions: model.Read, Condition: "@Resource.Category == 'DeviceType'"}),
		"Read Space/DeviceType, ExtendedType/DeviceType",
	)
	assign(13, custom(63, model.Permission{Actions: model.Read, Condition: "please"}), "nothing: the role was refused")
	assign(14, fixed(64), "nothing: the role is not defined")
	azure(
		20,
		space.MustID(model.IotHubDataReaderRole),
		"",
		"Microsoft.Devices/IotHubs/*/read, Microsoft.Devices/IotHubs/fileUpload/notifications/action",
	)
	azure(
		21,
		space.MustID(model.IotHubTwinContributorRole),
		"@Resource[Microsoft.Devices/IotHubs:name] StringEquals 'h'",
		"Microsoft.Devices/IotHubs/twins/* if @Resource[Microsoft.Devices/IotHubs:name] StringEquals 'h'",
	)
	azure(22, space.MustID(model.IotHubTwinContributorRole), "please", "nothing: its condition cannot be evaluated")
	azure(23, fixed(65), "", "nothing: the role is not defined")
	ix, _ := authz.Compile(policy)
	all := ix.WhatCan(&model.Subject{Identities: []model.Identity{who}, Object: fixed(2), GroupsKnown: true})
	if len(all) != len(want) {
		t.Errorf("%d grants, want %d", len(all), len(want))
	}
	for i := range all {
		got := ix.Operations(&all[i])
		if text := want[all[i].Assignment]; got != text {
			t.Errorf("%s: %q, want %q", all[i].Assignment, got, text)
		}
	}
}
