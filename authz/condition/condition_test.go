package condition_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz/condition"
	"github.com/gatehouse/gatehouse/authz/model"
)

type pair struct {
	t model.ResourceType
	c model.Category
}

func TestCompile(t *testing.T) {
	device, sensor := pair{t: model.Device}, pair{t: model.Sensor}
	plainSpace := pair{model.Space, model.WithoutSpecifiedRbacResourceTypes}
	bareSpace := pair{t: model.Space}
	typ := pair{model.ExtendedType, model.DeviceType}
	udf := pair{t: model.UserDefinedFunction}
	for text, want := range map[string][]pair{
		"":                                {device, sensor, plainSpace, bareSpace, typ, udf},
		"@Resource.Type == 'Device'":      {device},
		"@Resource.Type=='Device'":        {device},
		"\t@Resource.Type\n==\r'Device' ": {device},
		"@Resource.Type Any_of {'Device','Sensor'}":    {device, sensor},
		"@Resource.Type Any_of{ 'Device' , 'Sensor' }": {device, sensor},
		"Exists @Resource.Category":                    {plainSpace, typ},
		"!Exists @Resource.Category":                   {device, sensor, bareSpace, udf},
		"Exists @Resource.Type":                        {device, sensor, plainSpace, bareSpace, typ, udf},
		"!(@Resource.Type == 'Device')":                {sensor, plainSpace, bareSpace, typ, udf},
		"!!(@Resource.Type == 'Device')":               {device},
		"@Resource.Type == 'device'":                   nil,
		"@Resource.Type == 'Nothing'":                  nil,
		"@Resource.Category == 'DeviceType'":           {typ},
		"@Resource.Category == 'Device'":               nil,
		"@Resource.Type == 'UserDefinedFunction'":      {udf},
		"@Resource.Type == 'UerDefinedFunction'":       {udf},
		"@Resource.Type == 'Sensor' || @Resource.Type == 'Space' && Exists @Resource.Category":   {sensor, plainSpace},
		"(@Resource.Type == 'Sensor' || @Resource.Type == 'Space') && Exists @Resource.Category": {plainSpace},
		"Exists @Resource.Category && @Resource.Type == 'Space' || @Resource.Type == 'Sensor'":   {sensor, plainSpace},
	} {
		set, err := condition.Compile(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		in := map[pair]bool{}
		for _, p := range want {
			in[p] = true
		}
		for _, p := range []pair{device, sensor, plainSpace, bareSpace, typ, udf} {
			if set.Has(p.t, p.c) != in[p] {
				t.Errorf("%q on %v/%v: got %v", text, p.t, p.c, !in[p])
			}
		}
		if set.Has(model.NoResource, model.NoCategory) || set.Has(model.ResourceTypes, 0) || set.Has(model.Device, model.Categories) {
			t.Errorf("%q: holds outside of the universe", text)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	const ok = "@Resource.Type == 'Device'"
	for _, text := range []string{
		" ", "true", "Exists", "Exists (@Resource.Type)", "exists @Resource.Type", "@Resource.Type",
		"@Resource.Type != 'Device'", "@Resource.Type = 'Device'", "@Resource.Type == \"Device\"", "@Resource.Type == Device",
		"@Resource.Type == ''", "@Resource.Type == 'Device", "@Resource.Type StartsWith 'D'", "@Resource.Type any_of {'Device'}",
		"@Resource.Type Any_of {}", "@Resource.Type Any_of {'Device',}", "@Resource.Type Any_of 'Device'",
		"@Resource.Type Any_of {'Device'",
		"@Resource.type == 'Device'", "@Resource.Owner == 'me'", "@Resource. == 'me'", "@Principal.Type == 'Device'",
		"@Request.Type == 'x'",
		ok + " " + ok, ok + " &&", "|| " + ok, "(" + ok, ok + ")", "!", "()", ok + " & " + ok, ok + " and " + ok,
		strings.Repeat("(", condition.MaxDepth+1) + ok + strings.Repeat(")", condition.MaxDepth+1),
		strings.Repeat("!", condition.MaxDepth+1) + "Exists @Resource.Type",
		ok + strings.Repeat(" ", condition.MaxLength), "\x00", "é",
	} {
		set, err := condition.Compile(text)
		var at *condition.Error
		if !errors.Is(err, condition.ErrRefused) || !errors.As(err, &at) || at.Reason == "" {
			t.Errorf("%.80q: got %v", text, err)
		}
		if !set.Empty() {
			t.Errorf("%.80q: refused and yet not empty", text)
		}
	}
	deep := strings.Repeat("(", condition.MaxDepth-1) + ok + strings.Repeat(")", condition.MaxDepth-1)
	if _, err := condition.Compile(deep); err != nil {
		t.Errorf("at the limit of depth: %v", err)
	}
}

func TestRole(t *testing.T) {
	role := model.Role{ID: model.SystemRoles()[0].ID, Permissions: []model.Permission{
		{Actions: model.AllAccess, NotActions: model.Delete, Condition: "@Resource.Type == 'Device'"},
		{Actions: model.Read},
	}}
	r, err := condition.Role(&role)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o    model.Operation
		want bool
	}{
		{model.Operation{Access: model.Update, Type: model.Device}, true},
		{model.Operation{Access: model.Delete, Type: model.Device}, false},
		{model.Operation{Access: model.Read, Type: model.KeyStore}, true},
		{model.Operation{Access: model.Update, Type: model.KeyStore}, false},
		{model.Operation{Access: model.Read | model.Create, Type: model.Device}, false},
		{model.Operation{Access: 0, Type: model.Device}, false},
		{model.Operation{Access: 1 << 6, Type: model.Device}, false},
		{model.Operation{Access: model.Read}, false},
	} {
		if got := r.Allows(c.o); got != c.want {
			t.Errorf("%v: got %v", c.o, got)
		}
	}
	role.Permissions[0].Condition = "@Resource.Owner == 'me'"
	if r, err := condition.Role(&role); !errors.Is(err, condition.ErrRefused) || !r.Empty() {
		t.Errorf("one bad clause must refuse the whole role: %v", err)
	}
}

func FuzzCompile(f *testing.F) {
	for _, r := range model.SystemRoles() {
		for _, p := range r.Permissions {
			f.Add(p.Condition)
		}
	}
	f.Add("!(Exists @Resource.Category||@Resource.Type=='Device')&&!!Exists @Resource.Type")
	f.Add(strings.Repeat("(", 100))
	f.Fuzz(func(t *testing.T, text string) {
		set, err := condition.Compile(text)
		if err != nil {
			if !errors.Is(err, condition.ErrRefused) || !set.Empty() {
				t.Fatalf("%q: %v, set empty %v", text, err, set.Empty())
			}
			return
		}
		if text == "" {
			return
		}
		// De Morgan through the language itself: a condition and its negation
		// split the universe.
		neg, err := condition.Compile("!(" + text + ")")
		if err != nil {
			return // at a limit of depth or length
		}
		for r := model.NoResource + 1; r < model.ResourceTypes; r++ {
			for c := range model.Categories {
				if set.Has(r, c) == neg.Has(r, c) {
					t.Fatalf("%q and its negation agree on %v/%v", text, r, c)
				}
			}
		}
	})
}
