package warnings

import (
	"fmt"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/offline"
)

// NoPolicy says that there is no policy yet, so that no client is admitted.
func NoPolicy(t *health.Tracker) {
	t.Raise("cache-empty", health.Failing, "no policy is known yet: everything is denied",
		"see that cloud.management can be reached; gatehousectl sync")
}

// LossesNotKept says that the daemon stopped before a change of rights was stored.
func LossesNotKept(t *health.Tracker, dirty bool) {
	t.Set(dirty, "cache-dirty", health.Failing,
		"the last change of rights could not be stored before the gateway stopped",
		"free space on the state directory; a full sync mends it")
}

// PolicyStored tells whether a change of rights was stored.
func PolicyStored(t *health.Tracker, stored bool) {
	if stored {
		t.Clear("cache-empty")
	}
	t.Set(!stored, "cache-dirty", health.Failing,
		"a change of rights could not be stored: only its losses are in force", "free space on the state directory")
}

// Refused names the parts of the policy that grant nothing, the records of the registry that are refused,
// and those that share a thumbprint with another record.
func Refused(t *health.Tracker, policy []authz.Problem, topology []device.Problem) {
	t.Set(len(policy) > 0, "policy-problems", health.Degraded,
		health.Listed("parts of the policy grant nothing", policy),
		"gatehousectl assignments shows them; correct them in the cloud")
	var refused, shared []device.Problem
	for _, p := range topology {
		if p.Refuses() {
			refused = append(refused, p)
		} else {
			shared = append(shared, p)
		}
	}
	t.Set(len(refused) > 0, "topology-problems", health.Degraded,
		health.Listed("records of the registry are refused", refused),
		"correct the records in the cloud: device ids and hardware ids are unique")
	t.Set(len(shared) > 0, "thumbprint-shared", health.Degraded,
		health.Listed("records of the registry hold the thumbprint of another, and each proves only its own client id by it", shared),
		"find out whose certificate it is, and remove it from the other record")
}

// SharedCertificates names the certificates that an authority issued for one device and another record
// holds as a thumbprint.
func SharedCertificates[S fmt.Stringer](t *health.Tracker, shared []S) {
	t.Set(len(shared) > 0, "certificate-shared", health.Degraded,
		health.Listed("certificates are registered for another device than they were issued for; neither is refused for it", shared),
		"find out who registered the thumbprint, and remove it from the other record")
}

// PolicyAge says how old the policy in force is, and in which stage.
func PolicyAge(t *health.Tracker, stage offline.Stage, age time.Duration) {
	severity := health.Degraded
	if stage == offline.Expired {
		severity = health.Failing
	}
	t.Set(stage != offline.Fresh, "cache-age", severity,
		fmt.Sprintf("the policy is %s: the cloud last confirmed it %s ago", stage, age.Round(time.Second)),
		"see that cloud.management can be reached (gatehousectl sync says what fails)")
}

// CloudSync says why the gateway cannot synchronise with the management API. Being throttled by it is a
// warning of its own, because it is mended elsewhere.
func CloudSync(t *health.Tracker, raised bool, code, detail string) {
	throttled := raised && code == "throttled" // sync/client.ErrThrottled
	t.Set(throttled, "cloud-throttled", health.Degraded,
		"the cloud throttles this gateway (status 429), and changes of rights arrive late: "+detail,
		"raise the limit of the management API for the gateway's principal, or find who else uses its credential; "+
			"the gateway waits as long as the cloud asks, and goes on by itself")
	t.Set(raised && !throttled, "cloud-sync", health.Degraded,
		fmt.Sprintf("the cloud's policy cannot be followed (%s): %s", code, detail),
		"gatehousectl sync tries at once and says what fails")
}

// TokenKeys says why the key set for tokens cannot be read from its file, or fetched.
func TokenKeys(t *health.Tracker, file bool, err error) {
	if file {
		t.Set(err != nil, "token-keys", health.Failing,
			fmt.Sprint("tokens are refused until the file of their keys can be read: ", err),
			"put a JSON Web Key Set there (identity.jwks.file): it is read again every few seconds")
		return
	}
	t.Set(err != nil, "token-keys", health.Degraded,
		fmt.Sprint("the key set for tokens cannot be fetched: ", err),
		"see that identity.jwks.url can be reached; the stored set goes on being used")
}

// RegistryCreates says that sensors wait to be created in the cloud.
func RegistryCreates(t *health.Tracker, waiting int, why error) {
	t.Set(why != nil, "registry-creates", health.Degraded,
		fmt.Sprintf("%d sensors wait to be created in the cloud: %v", waiting, why),
		"see that cloud.management can be reached; they are sent by themselves")
}
