package admin

import "testing"

// A space path is printed by names, and nothing else is taken for one.
func TestPlacesName(t *testing.T) {
	t.Parallel()
	const house, lobby, one, other, gone = "11111111-0000-4000-8000-00000000000a", "22222222-0000-4000-8000-000000000002",
		"33333333-0000-4000-8000-000000000003", "44444444-0000-4000-8000-000000000004", "55555555-0000-4000-8000-000000000005"
	p := NewPlaces([]Place{
		{ID: house, Name: "Harbour House"},
		{ID: lobby, Parent: house, Name: "Lobby"},
		{ID: one, Parent: house, Name: "Room 1"},
		{ID: other, Parent: house, Name: "Room 1"},
	})
	for text, want := range map[string]string{
		"/" + house + "/" + lobby:                         "Harbour House / Lobby",
		"Read Device at /" + house + "/" + lobby + ": no": "Read Device at Harbour House / Lobby: no",
		"(/" + house + "), /" + house:                     "(Harbour House), Harbour House",
		"/11111111-0000-4000-8000-00000000000A":           "Harbour House",
		"/" + house + "/" + gone:                          "Harbour House / " + gone,
		"/" + gone + "/" + house + "/" + lobby:            "Harbour House / Lobby",
		"/" + gone:                                        "/" + gone,
		"/" + house + "/" + other:                         "Harbour House / Room 1 (" + other + ")",
		"/":                                               "/",
		"spaces/" + house + "/" + lobby + "/#":            "spaces/" + house + "/" + lobby + "/#",
		"/" + house + "/devices":                          "/" + house + "/devices",
		"/subscriptions/" + house + "/resourceGroups":     "/subscriptions/" + house + "/resourceGroups",
		house: house,
	} {
		if got := p.Named(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
