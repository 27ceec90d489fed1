package management

import (
	"crypto/x509"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// A certificate authority signs the certificates of devices at its path and below. It may
// be read by whoever may read a device there, and changed by the two roles that administer
// devices.

func (c *call) getAuthorities() error {
	var items []item
	for id, ca := range c.state.cas.all() {
		if c.view.sees(wire.TypeCA, ca.Path) {
			items = append(items, item{id, "", func() any { return wire.FromCA(*ca) }})
		}
	}
	return c.page(items)
}

func (c *call) putAuthority() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	_, ca, err := authorities.read(c, wire.ParseCA)
	if err != nil {
		return err
	}
	ca.ID = id
	if err := checkAuthority(ca); err != nil {
		return err
	}
	return c.noContent(c.update(func(t *tx) error {
		if err := c.need(t, model.Create, model.Device, ca.Path); err != nil {
			return err
		}
		if old, ok := t.draft.cas.get(id); ok {
			if err := c.need(t, model.Delete, model.Device, old.Path); err != nil {
				return err
			}
		}
		if !ca.Path.IsRoot() && t.paths[ca.Path.Space()] != ca.Path {
			return notFound("The path does not exist.")
		}
		authorities.put(t, ca)
		return nil
	}))
}

func checkAuthority(ca *device.CA) error {
	cert, err := x509.ParseCertificate(ca.DER)
	if err != nil || !cert.IsCA {
		return badRequest("certificate: not a certificate authority.")
	}
	if len(ca.CRL) == 0 {
		return nil
	}
	crl, err := x509.ParseRevocationList(ca.CRL)
	if err != nil || crl.CheckSignatureFrom(cert) != nil {
		return badRequest("crl: not signed by the certificate authority.")
	}
	return nil
}
