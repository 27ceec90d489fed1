package management

import (
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// Key stores hold the keys that sign device tokens for this API, for devices
// in the store's space and below (reference 5.3).

const (
	keyActive   = "Active"
	keyDisabled = "Disabled"
	maxKeys     = 64
)

func (c *call) getKeyStores() error {
	in, err := c.tree()
	if err != nil {
		return err
	}
	shown := parseIncludes(c.query.get("includes"))
	var items []item
	for id, k := range c.state.keystores.all() {
		at := c.state.path(k.SpaceID)
		if in.holds(at) && c.query.passesID("ids", id) && c.view.sees(wire.TypeKeyStore, at) {
			items = append(items, item{id, k.Name, func() any { return c.state.showKeyStore(k, shown) }})
		}
	}
	return c.page(items)
}

// keyStore is the store of the route, if the caller may read it.
func (c *call) keyStore() (*wire.KeyStore, error) {
	id, err := c.id()
	if err != nil {
		return nil, err
	}
	k, ok := c.state.keystores.get(id)
	if !ok {
		return nil, notFound("The key store does not exist.")
	}
	if !c.view.sees(wire.TypeKeyStore, c.state.path(k.SpaceID)) {
		return nil, forbidden()
	}
	return k, nil
}

func (c *call) getKeyStore() error {
	k, err := c.keyStore()
	if err != nil {
		return err
	}
	return c.ok(c.state.showKeyStore(k, parseIncludes(c.query.get("includes"))))
}

func (c *call) postKeyStore() error {
	o, err := c.body()
	if err != nil {
		return err
	}
	k, err := wire.ParseKeyStore(o)
	if err != nil {
		return err
	}
	k.ID = space.NewID()
	if len(k.Name) < 5 || k.SpaceID.IsZero() {
		return badRequest("name (5 to 40 characters) and spaceId are required.")
	}
	err = c.update(func(t *tx) error {
		at := t.path(k.SpaceID)
		if at.IsZero() {
			return notFound("The space does not exist.")
		}
		if err := c.need(t, model.Create, model.KeyStore, at); err != nil {
			return err
		}
		t.putKeyStore(&k)
		return nil
	})
	if err != nil {
		return err
	}
	return c.created("keystores", k.ID)
}

// changeKeyStore runs a change of the store of the route, which needs one
// right where it is.
func (c *call) changeKeyStore(access model.Access, change func(t *tx, k *wire.KeyStore) error) error {
	id, err := c.id()
	if err != nil {
		return err
	}
	return c.update(func(t *tx) error {
		old, ok := t.draft.keystores.get(id)
		if !ok {
			return notFound("The key store does not exist.")
		}
		if err := c.need(t, access, model.KeyStore, t.path(old.SpaceID)); err != nil {
			return err
		}
		k := *old
		k.Keys = slices.Clone(k.Keys)
		return change(t, &k)
	})
}

// patchKeyStore renames; a store stays where it is, with the devices that trust it.
func (c *call) patchKeyStore() error {
	o, err := c.body()
	if err != nil {
		return err
	}
	err = c.changeKeyStore(model.Update, func(t *tx, k *wire.KeyStore) error {
		old := *k
		if err := k.Patch(o); err != nil {
			return err
		}
		k.ID = old.ID
		if len(k.Name) < 5 || k.SpaceID != old.SpaceID {
			return badRequest("name: 5 to 40 characters are required; spaceId cannot be changed.")
		}
		t.putKeyStore(k)
		return nil
	})
	if err != nil {
		return err
	}
	return c.noContent()
}

func (c *call) deleteKeyStore() error {
	err := c.changeKeyStore(model.Delete, func(t *tx, k *wire.KeyStore) error {
		t.removeKeyStore(k)
		return nil
	})
	if err != nil {
		return err
	}
	return c.noContent()
}

func (c *call) getKeys() error {
	k, err := c.keyStore()
	if err != nil {
		return err
	}
	keys := k.Keys
	if keys == nil {
		keys = []wire.Key{}
	}
	return c.ok(keys)
}

// postKey adds a random key and answers its number.
func (c *call) postKey() error {
	number := 0
	err := c.changeKeyStore(model.Create, func(t *tx, k *wire.KeyStore) error {
		if len(k.Keys) == maxKeys {
			return badRequest("A key store holds at most %d keys.", maxKeys)
		}
		number = 1
		if n := len(k.Keys); n > 0 {
			number = k.Keys[n-1].ID + 1 // never a number twice: it names a key in tokens
		}
		var b [32]byte
		_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
		k.Keys = append(k.Keys, wire.Key{ID: number, Value: base64.StdEncoding.EncodeToString(b[:]),
			Status: keyActive, CreatedUTC: c.o.Now().UTC().Format(time.RFC3339)})
		t.putKeyStore(k)
		return nil
	})
	if err != nil {
		return err
	}
	writeJSON(c.w, 201, number)
	return nil
}

// findKey finds the {key} of the route: a number, or "last".
func (c *call) findKey(keys []wire.Key) (int, error) {
	text := c.r.PathValue("key")
	for i := range slices.Backward(keys) {
		if text == "last" || strconv.Itoa(keys[i].ID) == text {
			return i, nil
		}
	}
	return 0, notFound("The key does not exist.")
}

func (c *call) getKey() error {
	k, err := c.keyStore()
	if err != nil {
		return err
	}
	i, err := c.findKey(k.Keys)
	if err != nil {
		return err
	}
	return c.ok(k.Keys[i])
}

// patchKey changes a key's status: a disabled one proves nothing any more.
func (c *call) patchKey() error {
	o, err := c.body()
	if err != nil {
		return err
	}
	status, err := o.String("status", 16)
	if err != nil {
		return err
	}
	switch strings.ToLower(status) {
	case "active":
		status = keyActive
	case "disabled":
		status = keyDisabled
	default:
		return badRequest("status: Active or Disabled is expected.")
	}
	err = c.changeKeyStore(model.Update, func(t *tx, k *wire.KeyStore) error {
		i, err := c.findKey(k.Keys)
		if err != nil {
			return err
		}
		k.Keys[i].Status = status
		t.putKeyStore(k)
		return nil
	})
	if err != nil {
		return err
	}
	return c.noContent()
}

// getToken makes a token for the device with a hardware id, existing or not.
func (c *call) getToken() error {
	k, err := c.keyStore()
	if err != nil {
		return err
	}
	i, err := c.findKey(k.Keys)
	if err != nil {
		return err
	}
	hardware := c.query.get("deviceMac")
	if hardware == "" || len(hardware) > 36 || strings.ContainsAny(hardware, "&=%\n") {
		return badRequest("deviceMac: the device's hardwareId is required.")
	}
	if k.Keys[i].Status != keyActive {
		return badRequest("The key is disabled.")
	}
	token, err := signToken(hardware, k.Keys[i], c.o.Now().Add(tokenLife))
	if err != nil {
		return err
	}
	return c.ok(token)
}
