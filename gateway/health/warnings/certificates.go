package warnings

import (
	"fmt"
	"time"

	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
)

// Dated is a certificate that ends, named as in "authority 6b3c… at /".
type Dated struct {
	Name string
	tlsfile.Validity
}

// UpstreamCertificate says that the certificate by which the gateway proves itself upstream ends soon,
// has ended, or is not yet valid.
func UpstreamCertificate(t *health.Tracker, now time.Time, found []Dated) {
	ending(t, "upstream-certificate", "certificates of the link upstream end", now, found,
		"renew it: the files are read again before each connection")
}

// DeviceAuthorities names the certificate authorities of devices that end soon, and those that vouch
// for nobody (problems), whose devices are refused.
func DeviceAuthorities(t *health.Tracker, now time.Time, found []Dated, problems []error) {
	const what = "certificate authorities of devices end, and no certificate that they issued is good after that"
	ending(t, "certificate-authority-expiring", what, now, found,
		"issue certificates from a new authority, and register that in the cloud beside the old one")
	list := make([]Name, 0, len(problems))
	for _, err := range problems {
		list = append(list, Name(err.Error()))
	}
	t.Set(len(list) > 0, "certificate-authority", health.Degraded,
		health.Listed("certificate authorities of devices are not used, or their revocation list is out of date", list),
		"renew or remove them in the cloud: until then devices that only such an authority vouches for are refused")
}

// ending raises the warning for those of found that are near their end; its severity is of the nearest.
func ending(t *health.Tracker, name, what string, now time.Time, found []Dated, next string) {
	severity, list := health.Notice, []Name{}
	for _, c := range found {
		phase := c.At(now)
		if phase == tlsfile.Good {
			continue
		}
		severity = max(severity, EndSeverity(phase))
		when := fmt.Sprintf("%s on %s", c.Name, c.NotAfter.UTC().Format(time.RFC3339))
		switch phase {
		case tlsfile.Expired:
			when += ", which is over"
		case tlsfile.NotYetValid:
			when = fmt.Sprintf("%s is not valid before %s", c.Name, c.NotBefore.UTC().Format(time.RFC3339))
		default:
			when += fmt.Sprintf(" (in %s)", Left(c.Left(now)))
		}
		list = append(list, Name(when))
	}
	t.Set(len(list) > 0, name, severity, health.Listed(what, list), next)
}

// EndSeverity is how bad it is that a certificate is in a phase: worth knowing in its last month,
// degraded in its last week, failing from its last day on.
func EndSeverity(p tlsfile.Phase) health.Severity {
	switch p {
	case tlsfile.Good, tlsfile.LastMonth:
		return health.Notice
	case tlsfile.LastWeek:
		return health.Degraded
	}
	return health.Failing
}

// Left is the time that is left in days. Below two days it is in hours, because "0 days" would hide
// that somebody must come today.
func Left(left time.Duration) string {
	const day = 24 * time.Hour
	if left >= 2*day {
		return fmt.Sprintf("%d days", int(left/day))
	}
	return fmt.Sprintf("%d hours", int(left/time.Hour))
}

// SealingKey says that the file of the key under which the stored policy is sealed cannot be used.
func SealingKey(t *health.Tracker, err error) {
	t.Set(err != nil, "sealing-key", health.Failing,
		fmt.Sprint("the key under which the stored policy is sealed is not there for the next start: ", err),
		"put the file back from a backup before the daemon is restarted; without it the next start does not open the cache: "+
			"move the directory cache away then, and the gateway reads everything from the cloud again")
}
