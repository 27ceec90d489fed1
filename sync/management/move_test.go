package management

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
)

// A move takes the keys along. It must not be the way in which the mover gets to see them.
func TestMovingADeviceShowsItsKeysToNobodyNew(t *testing.T) {
	const key = "MDEyMzQ1Njc4OWFiY2RlZg=="
	dev := "/devices/" + num(23).String() // on floor 2
	to := func(n int) string { return fmt.Sprintf(`{"spaceId":%q}`, num(n)) }
	assign := func(h *harness, role string, who int, at string) {
		h.want(
			201,
			"admin",
			"POST",
			"/roleassignments",
			fmt.Sprintf(`{"roleId":%q,"objectId":%q,"objectIdType":"UserId","tenantId":%q,"path":%q}`, role, num(who), home, at),
		)
	}
	t.Run("the mover would see them only there", func(t *testing.T) {
		h := start(t)
		assign(h, model.SpaceAdministratorRole, 103, floor1.String()) // the installer, who updates devices everywhere
		h.want(403, "installer", "PATCH", dev, to(2))
		if a := h.want(200, "installer", "GET", dev+"?includes=ConnectionString", nil); strings.Contains(a.body, key) {
			t.Error(a.body)
		}
	})
	t.Run("the mover sees them nowhere", func(t *testing.T) {
		h := start(t)
		assign(h, model.DeviceAdministratorRole, 103, floor1.String())
		h.want(204, "installer", "PATCH", dev, to(2))
		if a := h.want(200, "site", "GET", dev+"?includes=ConnectionString", nil); !strings.Contains(a.body, key) {
			t.Errorf("the keys are not what they were: %s", a.body)
		}
	})
	t.Run("the mover could replace them", func(t *testing.T) {
		h := start(t)
		assign(h, model.SpaceAdministratorRole, 104, floor2.String())
		assign(h, model.DeviceAdministratorRole, 102, floor2.String()) // floor: Space Administrator of floor 1
		h.want(204, "floor", "PATCH", dev, to(4))
		h.want(204, "admin", "PATCH", dev, to(3))
	})
}

// A question about another tenant or domain than the caller's own is a question about
// somebody else.
func TestCheckOfOneselfTellsNothingOfOthers(t *testing.T) {
	h := start(t)
	h.want(
		201,
		"admin",
		"POST",
		"/roleassignments",
		fmt.Sprintf(`{"roleId":%q,"objectId":"@partner.example","objectIdType":"DomainName","tenantId":%q,"path":%q}`,
			model.SpaceAdministratorRole, home, floor2),
	)
	ask := "/roleassignments/check?userId=" + num(107).String() + "&path=" + floor2.String() + "&accessType=Read&resourceType=Device"
	h.want(200, "stranger", "GET", ask, nil)
	h.want(403, "stranger", "GET", ask+"&domain=@partner.example", nil)
	h.want(403, "stranger", "GET", ask+"&tenantId="+num(999).String(), nil)
	h.want(200, "admin", "GET", ask+"&domain=@partner.example", nil)
}
