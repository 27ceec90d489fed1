package credential

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// The kinds of an Azure credential.
const (
	ManagedIdentity   = "managed-identity"
	WorkloadIdentity  = "workload-identity"
	ClientCertificate = "client-certificate"
	SecretOfClient    = "client-secret"
	DeviceCode        = "device-code"
)

// AzureOptions are the parameters of an Azure credential. Which are needed depends on the kind.
type AzureOptions struct {
	Kind  string
	Scope string // what the token is for, with /.default at its end
	// Authority is an authority other than Entra's public cloud, https://host[:port]. It is not looked up at Microsoft's
	// instance discovery, which knows no private one and cannot be reached from a closed network.
	Authority string
	Tenant    string // all but managed-identity; "adfs" for an authority in that form
	ClientID  string // of a user-assigned managed identity: "" if it is not chosen by that
	ObjectID  string // managed-identity
	Resource  string // managed-identity: the ARM id of a user-assigned one

	Secret      func() ([]byte, error)     // client-secret; read whenever the credential is made
	Certificate func() ([]byte, error)     // client-certificate: PEM with the certificate and its RSA key, in any order
	File        string                     // workload-identity: the token of the other issuer, read for every request
	Prompt      func(page, message string) // device-code: called when somebody must enter a code
	Now         func() time.Time
	HTTP        *http.Client  // nil: azidentity's own
	Timeout     time.Duration // of one call; 0: 30 s, and for device-code 15 min
}

// Azure is the gateway's own token from Entra, by azidentity.
type Azure struct {
	*kept
	o    AzureOptions
	made azcore.TokenCredential // nil: to be made; guarded by kept.asking
}

// NewAzure makes the credential. It reads nothing and requests no token yet.
func NewAzure(o AzureOptions) (*Azure, error) {
	switch o.Kind {
	case ManagedIdentity, WorkloadIdentity, ClientCertificate, SecretOfClient:
	case DeviceCode:
		if o.Timeout == 0 {
			o.Timeout = 15 * time.Minute // a person has to find the page first
		}
	default:
		return nil, fmt.Errorf("kind %q is no credential that Azure knows", o.Kind)
	}
	a := &Azure{kept: newKept(o.Now, o.Timeout), o: o}
	a.asked = func() string {
		if o.Kind == ManagedIdentity {
			return "the managed identity's endpoint"
		}
		if o.Authority == "" {
			return "Entra"
		}
		return o.Authority
	}
	a.fetch = a.ask
	return a, nil
}

// ask gets a token by azidentity. Its credentials keep tokens themselves, so that another one is made for each request: a
// renewal gets a new token while the old one still lives, and a secret that was changed is read. That cannot be done for a
// managed identity, whose tokens are kept for the whole process and by Azure (Trouble), and must not be for a device code,
// which somebody would have to enter again.
func (a *Azure) ask(ctx context.Context) (fetched, error) {
	if a.made == nil || a.o.Kind != ManagedIdentity && a.o.Kind != DeviceCode {
		made, err := a.make()
		if err != nil {
			return fetched{}, fmt.Errorf("cloud.management.credential: %w", err)
		}
		a.made = made
	}
	t, err := a.made.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{a.o.Scope}})
	if err != nil {
		return fetched{}, a.explain(err)
	}
	return fetched{bearer + t.Token, t.ExpiresOn.Sub(a.o.Now())}, nil
}

// explain tells an answer that gives no token from no answer at all.
func (a *Azure) explain(err error) error {
	var failed *azidentity.AuthenticationFailedError
	if !errors.As(err, &failed) || failed.RawResponse == nil {
		return fmt.Errorf("ask %s for a token: %w", a.asked(), err)
	}
	code, _ := entraError(failed.RawResponse)
	return fmt.Errorf("%w: %s answered %d %s; %s", ErrRefused, a.asked(), failed.RawResponse.StatusCode, code, a.remedy())
}

func (a *Azure) remedy() string {
	if a.o.Kind == ManagedIdentity {
		return "see that the identity is switched on for this machine, or name another one in cloud.management.credential"
	}
	return "check cloud.management.credential (tenant id, client id, " + a.o.Kind + ", scope)"
}

// Trouble is what more is known about a refusal, "" if nothing is: client.Explainer.
func (a *Azure) Trouble() string {
	switch {
	case !a.same():
		return ""
	case a.o.Kind == ManagedIdentity:
		return "Azure still gives out the token that was refused: it keeps a managed identity's token until near its end, " +
			"so that changed roles and groups may take hours; another is asked for with growing pauses"
	}
	return "the authority still gives out the token that was refused"
}

func (a *Azure) clientOptions() policy.ClientOptions {
	o := policy.ClientOptions{}
	if a.o.HTTP != nil {
		o.Transport = a.o.HTTP
	}
	if a.o.Authority != "" {
		o.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: a.o.Authority}
	}
	// One attempt is made by each call: who calls knows when to try again, and within what time.
	o.Retry = policy.RetryOptions{MaxRetries: 1, RetryDelay: time.Second, MaxRetryDelay: 5 * time.Second}
	return o
}

func (a *Azure) make() (azcore.TokenCredential, error) {
	private := a.o.Authority != ""
	switch a.o.Kind {
	case ManagedIdentity:
		o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: a.clientOptions()}
		switch {
		case a.o.ClientID != "":
			o.ID = azidentity.ClientID(a.o.ClientID)
		case a.o.ObjectID != "":
			o.ID = azidentity.ObjectID(a.o.ObjectID)
		case a.o.Resource != "":
			o.ID = azidentity.ResourceID(a.o.Resource)
		}
		return azidentity.NewManagedIdentityCredential(o)
	case WorkloadIdentity:
		if _, err := os.Stat(a.o.File); err != nil {
			return nil, err
		}
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions:            a.clientOptions(),
			ClientID:                 a.o.ClientID,
			TenantID:                 a.o.Tenant,
			TokenFilePath:            a.o.File,
			DisableInstanceDiscovery: private,
		})
	case ClientCertificate:
		text, err := a.o.Certificate()
		if err != nil {
			return nil, err
		}
		certs, key, err := azidentity.ParseCertificates(text, nil)
		if err != nil {
			return nil, errors.New("the certificate and key cannot be used: PEM with a certificate and its unencrypted RSA key is needed")
		}
		return azidentity.NewClientCertificateCredential(a.o.Tenant, a.o.ClientID, certs, key,
			&azidentity.ClientCertificateCredentialOptions{ClientOptions: a.clientOptions(), DisableInstanceDiscovery: private})
	case SecretOfClient:
		secret, err := a.o.Secret()
		if err != nil {
			return nil, fmt.Errorf("clientSecret: %w", err)
		}
		return azidentity.NewClientSecretCredential(a.o.Tenant, a.o.ClientID, string(secret),
			&azidentity.ClientSecretCredentialOptions{ClientOptions: a.clientOptions(), DisableInstanceDiscovery: private})
	}
	return azidentity.NewDeviceCodeCredential(&azidentity.DeviceCodeCredentialOptions{
		ClientOptions:            a.clientOptions(),
		ClientID:                 a.o.ClientID,
		TenantID:                 a.o.Tenant,
		DisableInstanceDiscovery: private,
		UserPrompt: func(_ context.Context, m azidentity.DeviceCodeMessage) error {
			a.o.Prompt(m.VerificationURL, m.Message)
			return nil
		},
	})
}
