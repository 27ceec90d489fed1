package authz_test

import (
	_ "embed"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

//go:embed testdata/matrix.tsv
var matrix string

// TestPublishedMatrix asks every access type of every resource type for every
// role: docs/spec/management-api.md 1.5.
func TestPublishedMatrix(t *testing.T) {
	abbreviations := map[string]string{
		"SpA": model.SpaceAdministratorRole, "UsA": model.UserAdministratorRole, "DevA": model.DeviceAdministratorRole,
		"KeyA": model.KeyAdministratorRole, "TokA": model.TokenAdministratorRole, "User": model.UserRole,
		"Sup": model.SupportSpecialistRole, "Inst": model.DeviceInstallerRole, "GwD": model.GatewayDeviceRole,
	}
	lines := strings.Split(strings.TrimSpace(matrix), "\n")[1:]
	header := strings.Split(lines[0], "\t")[1:]
	if len(header) != 9 || len(lines) != 25 {
		t.Fatalf("matrix has %d roles and %d types", len(header), len(lines)-1)
	}
	site, other := space.Root.Join(space.NewID()), space.Root.Join(space.NewID())
	for col, abbreviation := range header {
		who := model.Identity{Kind: model.DeviceID, Object: space.NewID()}
		ix, problems := authz.Compile(model.Snapshot{Assignments: []model.Assignment{
			{ID: space.NewID(), Role: space.MustID(abbreviations[abbreviation]), Who: who, Path: site},
		}})
		if len(problems) > 0 {
			t.Fatalf("%s: %v", abbreviation, problems)
		}
		subject := model.Subject{Identities: []model.Identity{who}}
		for _, line := range lines[1:] {
			cells := strings.Split(line, "\t")
			typ, err := model.ParseResourceType(cells[0])
			if err != nil {
				t.Fatal(err)
			}
			for letter, access := range map[string]model.Access{"C": model.Create, "R": model.Read, "U": model.Update, "D": model.Delete} {
				op := model.Operation{Access: access, Type: typ}
				want := strings.Contains(cells[col+1], letter)
				if got := ix.Decide(&subject, op, site).Allowed; got != want {
					t.Errorf("%s %v: got %v", abbreviation, op, got)
				}
				if got := ix.Decide(&subject, op, site.Join(space.NewID())).Allowed; got != want {
					t.Errorf("%s %v below: got %v", abbreviation, op, got)
				}
				for _, outside := range []space.Path{other, space.Root, {}} {
					if ix.Decide(&subject, op, outside).Allowed {
						t.Errorf("%s %v at %q: allowed", abbreviation, op, outside)
					}
				}
			}
		}
	}
}
