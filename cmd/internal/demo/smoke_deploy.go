package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/gateway/admin"
	adminclient "github.com/gatehouse/gatehouse/gateway/admin/client"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// The device of assert 6: it has a twin of its own at the hub.
const updated = "meter-main"

// azureContributor is the Azure role assignment that gives Device Update's service principal its rights on the hub.
const azureContributor = "a2510000-0000-4000-8000-000000000001"

// deployments checks assert 6.
func (t *trial) deployments() {
	c, err := t.device(updated)
	if err != nil {
		t.f.check("6", updated+" connects", func() (string, error) { return "", err })
		return
	}
	defer c.close()
	ctx, cancel := t.within(30 * time.Second)
	defer cancel()
	for _, f := range []string{"$iothub/twin/res/#", "$iothub/twin/PATCH/properties/desired/#"} {
		if err := c.subscribe(ctx, f); err != nil {
			t.f.check("6", "the device subscribes "+f, func() (string, error) { return "", err })
			return
		}
	}
	dep := deployer{t: t, c: c}
	t.f.check("6", "a deployment of the authorised service reaches the device", func() (string, error) {
		return "desired patch and twin GET show deploy-1", dep.reaches(ctx, "deploy-1", "1.0.1")
	})
	azure := "/gateway/azure/roleassignments/" + azureContributor
	t.f.check("6", "its IoT Hub role is withdrawn: retry is stopped at the gateway", func() (string, error) {
		// The device says that deploy-1 failed: from here on a retry would be due.
		failed := `{"deviceUpdate":{"__t":"c","agent":{"state":255,"workflow":{"action":3,"id":"deploy-1"},` +
			`"lastInstallResult":{"resultCode":0}}}}`
		if err := c.publish(ctx, "$iothub/twin/PATCH/properties/reported/?$rid=failed", []byte(failed)); err != nil {
			return "", err
		}
		if status, err := t.sys.Call(ctx, http.MethodDelete, azure, nil, nil); err != nil || status != http.StatusNoContent {
			return "", fmt.Errorf("DELETE %s: %d %w", azure, status, err)
		}
		if err := t.contributor(ctx, false); err != nil {
			return "", err
		}
		if err := dep.post(ctx, "/retry"); err != nil {
			return "", err
		}
		return "audited; the device never sees a retry", errors.Join(t.auditedDeployment("retry deploy-1"),
			dep.sees(ctx, "deploy-1", `"retryTimestamp":"`))
	})
	t.f.check("6", "create is stopped", func() (string, error) {
		if err := dep.create(ctx, "deploy-2", "1.1.0", false); err != nil {
			return "", err
		}
		return "audited; the device never sees it, in PATCH or GET", errors.Join(t.auditedDeployment("create deploy-2"),
			dep.sees(ctx, "deploy-1", "deploy-2"))
	})
	t.f.check("6", "cancel is stopped", func() (string, error) {
		if err := dep.post(ctx, "/cancel"); err != nil {
			return "", err
		}
		return "audited; the device keeps seeing deploy-1", errors.Join(t.auditedDeployment("cancel nodeployment"),
			dep.sees(ctx, "deploy-1", "nodeployment"))
	})
	t.f.check("6", "the role is given back: the next deployment passes", func() (string, error) {
		body := map[string]any{"name": azureContributor, "properties": map[string]any{
			"roleDefinitionId": site.HubScope + "/providers/Microsoft.Authorization/roleDefinitions/" + model.IotHubDataContributorRole,
			"principalId":      "5e4c1ce0-0000-4000-8000-000000000003", "principalType": "ServicePrincipal", "scope": site.HubScope,
		}}
		if _, err := t.sys.Call(ctx, http.MethodPut, azure, body, nil); err != nil {
			return "", err
		}
		if err := t.contributor(ctx, true); err != nil {
			return "", err
		}
		return "deploy-3", dep.reaches(ctx, "deploy-3", "1.2.0")
	})
	t.f.check("6", "a manifest with one byte changed is stopped", func() (string, error) {
		if err := dep.create(ctx, "deploy-tampered", "1.0.2", true); err != nil {
			return "", err
		}
		return "audited; the device keeps seeing deploy-3", errors.Join(t.auditedDeployment("create deploy-tampered"),
			dep.sees(ctx, "deploy-3", "deploy-tampered"))
	})
}

// contributor waits until the gateway decides as expected for the service principal.
func (t *trial) contributor(ctx context.Context, want bool) error {
	return t.eventually(5*time.Second, func(context.Context) error {
		x, err := t.sys.explain(ctx, admin.Question{
			Principal: "ServicePrincipalId:5e4c1ce0-0000-4000-8000-000000000003",
			Operation: "Microsoft.Devices/IotHubs/twins/write",
			At:        site.HubScope,
		})
		if err != nil {
			return err
		}
		if x.Allowed != want {
			return fmt.Errorf("the gateway still says allowed=%v", x.Allowed)
		}
		return nil
	})
}

// auditedDeployment waits for a refusal in the audit whose topic holds text.
func (t *trial) auditedDeployment(text string) error {
	return t.refusal(adminclient.AuditQuery{Event: "deployment"}, func(r message.AuditRecord) bool { return strings.Contains(r.Topic, text) })
}

// refusal waits for a refusal in the gateway's audit.
func (t *trial) refusal(q adminclient.AuditQuery, is func(message.AuditRecord) bool) error {
	cl := t.sys.adminClient()
	defer cl.Close()
	q.Denied, q.Limit = true, 2000
	return t.eventually(5*time.Second, func(ctx context.Context) error {
		all, err := cl.Audit(ctx, q)
		if err != nil {
			return err
		}
		var others []string
		for _, r := range all {
			if is(r) {
				return nil
			}
			others = append(others, r.ClientID+" "+r.Topic+" "+r.Reason)
		}
		return fmt.Errorf("the audit has no such refusal among its %d: %s", len(all), clip(strings.Join(others, " | "), 300))
	})
}

// deployer creates deployments at the hub and looks at what the device sees.
type deployer struct {
	t    *trial
	c    *client
	gets int
}

func (d *deployer) create(ctx context.Context, id, version string, tamper bool) error {
	body := map[string]any{"id": id, "version": version, "manufacturer": "Contoso", "model": "Meter", "tamper": tamper,
		"url": "http://demo--update.b.nlu.dl.adu.microsoft.com/firmware-" + version + ".bin"}
	_, err := d.t.sys.CallHub(ctx, http.MethodPost, "/twins/"+updated+"/deployments", body, nil)
	return err
}

func (d *deployer) post(ctx context.Context, action string) error {
	_, err := d.t.sys.CallHub(ctx, http.MethodPost, "/twins/"+updated+"/deployments"+action, struct{}{}, nil)
	return err
}

// shown is the workflow id in a desired document, "" if there is none.
func shown(body []byte, get bool) string {
	type desired struct {
		DeviceUpdate struct {
			Service struct {
				Workflow struct {
					ID string `json:"id"`
				} `json:"workflow"`
			} `json:"service"`
		} `json:"deviceUpdate"`
	}
	var d desired
	if get {
		var twin struct {
			Desired desired `json:"desired"`
		}
		if json.Unmarshal(body, &twin) != nil {
			return ""
		}
		d = twin.Desired
	} else if json.Unmarshal(body, &d) != nil {
		return ""
	}
	return d.DeviceUpdate.Service.Workflow.ID
}

// reaches creates a deployment and waits until the device sees it both ways.
func (d *deployer) reaches(ctx context.Context, id, version string) error {
	// The session of the device at the hub comes up with its first twin GET.
	if _, err := d.get(ctx); err != nil {
		return err
	}
	if err := d.create(ctx, id, version, false); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	if _, err := d.c.await(wait, func(m received) bool {
		return strings.HasPrefix(m.topic, "$iothub/twin/PATCH/properties/desired/") && shown(m.payload, false) == id
	}); err != nil {
		return fmt.Errorf("no desired patch showed %s: %w", id, err)
	}
	return d.t.eventually(5*time.Second, func(context.Context) error {
		got, err := d.get(ctx)
		if err == nil && got != id {
			err = fmt.Errorf("the twin shows %q, want %s", got, id)
		}
		return err
	})
}

// get asks for the twin as the device does after each connect, and returns the workflow it shows.
func (d *deployer) get(ctx context.Context) (string, error) {
	d.gets++
	rid := fmt.Sprintf("smoke-%d", d.gets)
	wait, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	if err := d.c.publish(wait, "$iothub/twin/GET/?$rid="+rid, nil); err != nil {
		return "", err
	}
	m, err := d.c.await(wait, func(m received) bool {
		return strings.HasPrefix(m.topic, "$iothub/twin/res/") && strings.HasSuffix(m.topic, "$rid="+rid)
	})
	if err != nil {
		return "", fmt.Errorf("twin GET: %w", err)
	}
	if !strings.HasPrefix(m.topic, "$iothub/twin/res/200/") {
		return "", fmt.Errorf("twin GET answered %s", m.topic)
	}
	return shown(m.payload, true), nil
}

// sees checks that the twin still shows one deployment, and that the other was never in any message to the device.
func (d *deployer) sees(ctx context.Context, want, never string) error {
	got, err := d.get(ctx)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("the twin shows %q, want %q", got, want)
	}
	if n := d.c.count(func(m received) bool { return strings.Contains(string(m.payload), never) }); n > 0 {
		return fmt.Errorf("%d messages to the device name %s", n, never)
	}
	return nil
}
