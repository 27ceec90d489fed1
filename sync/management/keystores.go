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
// in the store's space and below (docs/spec/management-api.md 5.3).

const (
	keyActive   = "Active"
	keyDisabled = "Disabled"
	maxKeys     = 64
)

func (c *call) postKeyStore() error {
	_, k, err := keyStores.read(c, wire.ParseKeyStore)
	if err != nil {
		return err
	}
	k.ID = space.NewID()
	if len(k.Name) < 5 || k.SpaceID.IsZero() {
		return badRequest("name (5 to 40 characters) and spaceId are required.")
	}
	return keyStores.create(c, k, func(t *tx) error {
		if _, err := keyStores.enter(c, t, k.SpaceID); err != nil {
			return err
		}
		keyStores.put(t, k)
		return nil
	})
}

// changeKeyStore stores a changed copy of the store of the route. Change needs
// the given right where the store is.
func (c *call) changeKeyStore(access model.Access, change func(k *wire.KeyStore) error) error {
	return keyStores.change(c, access, func(t *tx, old *wire.KeyStore) error {
		k := *old
		k.Keys = slices.Clone(k.Keys)
		if err := change(&k); err != nil {
			return err
		}
		keyStores.put(t, &k)
		return nil
	})
}

// patchKeyStore renames a store. It cannot be moved, because devices at its path rely on its keys.
func (c *call) patchKeyStore() error {
	o, err := keyStores.patchBody(c)
	if err != nil {
		return err
	}
	return c.noContent(c.changeKeyStore(model.Update, func(k *wire.KeyStore) error {
		old := *k
		if err := k.Patch(o); err != nil {
			return err
		}
		k.ID = old.ID
		if len(k.Name) < 5 || k.SpaceID != old.SpaceID {
			return badRequest("name: 5 to 40 characters are required; spaceId cannot be changed.")
		}
		return nil
	}))
}

func (c *call) getKeys() error {
	k, err := keyStores.find(c)
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
	err := c.changeKeyStore(model.Create, func(k *wire.KeyStore) error {
		if len(k.Keys) == maxKeys {
			return badRequest("A key store holds at most %d keys.", maxKeys)
		}
		number = 1
		if n := len(k.Keys); n > 0 {
			number = k.Keys[n-1].ID + 1 // a number is never used twice, because tokens name their key by it
		}
		var b [32]byte
		_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
		k.Keys = append(k.Keys, wire.Key{
			ID:         number,
			Value:      base64.StdEncoding.EncodeToString(b[:]),
			Status:     keyActive,
			CreatedUTC: c.o.Now().UTC().Format(time.RFC3339),
		})
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
	k, err := keyStores.find(c)
	if err != nil {
		return err
	}
	i, err := c.findKey(k.Keys)
	if err != nil {
		return err
	}
	return c.ok(k.Keys[i])
}

// patchKey changes a key's status: tokens of a disabled key are not accepted any more.
func (c *call) patchKey() error {
	o, err := c.body()
	if err == nil {
		err = members{}.check(o, "status", "id", "createdDateTimeUtc")
	}
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
	return c.noContent(c.changeKeyStore(model.Update, func(k *wire.KeyStore) error {
		i, err := c.findKey(k.Keys)
		if err != nil {
			return err
		}
		k.Keys[i].Status = status
		return nil
	}))
}

// getToken makes a token for the device with a hardware id, existing or not.
func (c *call) getToken() error {
	k, err := keyStores.find(c)
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
