package manifest

import (
	"crypto/sha256"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// DisabledHashesOfJWK lets a test compare the hashes with published ones.
func DisabledHashesOfJWK(jwk []byte) ([2][sha256.Size]byte, error) {
	v, err := strictjson.Parse(jwk, strictjson.Limits{})
	if err != nil {
		return [2][sha256.Size]byte{}, err
	}
	k, err := parseJWK(v)
	if err != nil {
		return [2][sha256.Size]byte{}, err
	}
	return disabledHashes(k)
}
