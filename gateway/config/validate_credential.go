package config

import (
	"fmt"
	"slices"
	"strings"
)

// credentialFields says which fields each kind needs and which it may have; the rest must be absent
// so that a leftover is not mistaken for what is in use.
var credentialFields = map[string]struct{ need, may []string }{
	CredentialTokenFile: {need: []string{"tokenFile"}},
	CredentialClientSecret: {
		need: []string{"tenantId", "clientId", "clientSecret", "scope"},
		may:  []string{"tokenUrl", "authority"},
	},
	CredentialClientCertificate: {
		need: []string{"tenantId", "clientId", "certificate", "key", "scope"},
		may:  []string{"authority"},
	},
	CredentialManagedIdentity: {need: []string{"scope"}, may: []string{"clientId", "objectId", "resourceId"}},
	CredentialWorkloadIdentity: {
		need: []string{"tenantId", "clientId", "federatedTokenFile", "scope"},
		may:  []string{"authority"},
	},
	CredentialDeviceCode: {need: []string{"tenantId", "clientId", "scope"}, may: []string{"authority"}},
	CredentialDeviceSAS:  {need: []string{"hardwareId", "sasKey", "keyVersion"}},
}

func (v *validator) credential(c Credential) {
	const at = "cloud.management.credential"
	if c.Kind == "" {
		v.bad(at+".kind", "is missing: the management API answers nobody unknown",
			"write one of managed-identity, workload-identity, client-certificate, client-secret, device-code, device-sas, token-file")
		return
	}
	fields, known := credentialFields[c.Kind]
	if !known {
		return
	}
	need := strings.Join(fields.need, ", ")
	instead := c.Kind == CredentialClientSecret && (c.TokenURL != "" || v.unread(at, "tokenUrl")) // of tenantId
	for _, f := range []struct {
		name  string
		given bool
	}{
		{"tokenFile", c.TokenFile != ""},
		{"tenantId", !c.TenantID.IsZero() || instead},
		{"tokenUrl", c.TokenURL != ""},
		{"authority", c.Authority != ""},
		{"clientId", c.ClientID != ""},
		{"objectId", c.ObjectID != ""},
		{"resourceId", c.ResourceID != ""},
		{"clientSecret", c.ClientSecret != ""},
		{"certificate", c.Certificate != ""},
		{"key", c.Key != ""},
		{"federatedTokenFile", c.FederatedTokenFile != ""},
		{"hardwareId", c.HardwareID != ""},
		{"sasKey", c.SASKey != ""},
		{"keyVersion", c.KeyVersion != 0},
		{"scope", c.Scope != ""},
	} {
		needed := slices.Contains(fields.need, f.name)
		switch {
		case needed && !f.given:
			v.bad(at+"."+f.name, fmt.Sprintf("is missing for kind %s", c.Kind), "this kind needs "+need)
		case !needed && f.given && f.name == "tenantId": // it was accepted, and not used, before it had a meaning
			v.warn(at+"."+f.name, fmt.Sprintf("is not used by kind %s", c.Kind), "remove it; this kind needs "+need)
		case !needed && f.given && !slices.Contains(fields.may, f.name):
			v.bad(at+"."+f.name, fmt.Sprintf("is not used by kind %s", c.Kind), "remove it; this kind needs "+need)
		}
	}
	v.contradictions(at, c)
}

// contradictions reports what says two things at once, or says it in a way that Entra would not understand.
func (v *validator) contradictions(at string, c Credential) {
	if c.TokenURL != "" {
		v.secureURL(at+".tokenUrl", c.TokenURL)
	}
	if c.Authority != "" {
		v.secureURL(at+".authority", c.Authority)
		if !strings.HasPrefix(c.Authority, "https://") || strings.Count(strings.TrimSuffix(c.Authority, "/"), "/") != 2 {
			v.bad(at+".authority", "is not https:// and a host", "write https://login.microsoftonline.us, say; the tenant stands in tenantId")
		}
	}
	if c.TokenURL != "" && c.Authority != "" {
		v.bad(at+".authority", "is given besides tokenUrl", "keep one: tokenUrl is asked as it stands, an authority for its endpoints")
	}
	chosen := 0
	for _, id := range []string{c.ClientID, c.ObjectID, c.ResourceID} {
		if id != "" {
			chosen++
		}
	}
	if c.Kind == CredentialManagedIdentity && chosen > 1 {
		v.bad(at, "chooses the managed identity in more than one way", "keep one of clientId, objectId, resourceId")
	}
	asks := c.Kind != CredentialTokenFile && c.Kind != CredentialDeviceSAS && c.TokenURL == "" && !v.unread(at, "tokenUrl")
	if asks && c.Scope != "" && !strings.HasSuffix(c.Scope, "/.default") {
		v.bad(at+".scope", "does not end in /.default", "write the resource with /.default behind it: a gateway gets what it was granted")
	}
}
