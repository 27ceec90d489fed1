package wire

import "github.com/gatehouse/gatehouse/device/space"

// User is a person as the API shows one (docs/spec/management-api.md 4.5); used to locate
// people, never for permissions.
type User struct {
	ID        space.ID `json:"id,omitzero"`
	UPN       string   `json:"upn"`
	FirstName string   `json:"firstName,omitempty"`
	LastName  string   `json:"lastName,omitempty"`
	Location  string   `json:"location,omitempty"`
	SpaceID   space.ID `json:"spaceId,omitzero"`
	Place
}

// ParseUser reads a user.
func ParseUser(o Object) (User, error) {
	var w User
	err := w.Patch(o)
	return w, err
}

// Patch takes over the members that o gives, and leaves the others.
func (w *User) Patch(o Object) error {
	return readAll(o, idField("id", &w.ID), text("upn", 50, &w.UPN), text("firstName", 64, &w.FirstName),
		text("lastName", 64, &w.LastName), text("location", 256, &w.Location), idField("spaceId", &w.SpaceID))
}

// KeyStore is a key store as the API shows it: the keys that sign device
// tokens for the management API in its space and below.
type KeyStore struct {
	ID          space.ID `json:"id,omitzero"`
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	SpaceID     space.ID `json:"spaceId"`
	Keys        []Key    `json:"keys,omitempty"`
	Place
}

// Key is one key of a key store.
type Key struct {
	ID         int    `json:"id"`
	Value      string `json:"value,omitempty"` // base64
	Status     string `json:"status"`          // Active, Disabled
	CreatedUTC string `json:"createdDateTimeUtc,omitempty"`
}

// ParseKeyStore reads a key store, without its keys.
func ParseKeyStore(o Object) (KeyStore, error) {
	var w KeyStore
	err := w.Patch(o)
	return w, err
}

// Patch takes over the members that o gives, and leaves the others.
func (w *KeyStore) Patch(o Object) error {
	return readAll(o, idField("id", &w.ID), text("name", 40, &w.Name),
		text("description", 4000, &w.Description), idField("spaceId", &w.SpaceID))
}
