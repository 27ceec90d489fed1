package access

import "strings"

// kind selects the code by which a row is decided.
type kind uint8

const (
	noKind kind = iota
	kindConnect
	kindTelemetry
	kindModuleTelemetry
	kindDevicebound
	kindModuleInbound
	kindTwinGet
	kindTwinReported
	kindMethodResponse
	kindTwinResult
	kindTwinDesired
	kindMethodCall
	kindMirror
	kindRegistryGet
	kindRegistryCreate
	kindRegistryAnswer
	kindDeployment
	kindDeploymentGet
	kindDeploymentAnswer
	kindSys
	kindOperator
)

type segKind uint8

const (
	segLiteral segKind = iota
	segDevice          // a hub device id
	segModule
	segSensor // a hardware id
	segSpace  // one space's GUID
	segBag    // a property bag
	segQuery  // ?$rid=…
	segStatus // a status number
	segName   // one level of text that is not empty
	segAction // "create", "cancel" or "retry"
	segAny    // one level of any text
	segPath   // any number of space GUIDs, in canonical form
	segRest   // any number of levels, or none; only at the end
)

type seg struct {
	kind segKind
	text string // of a segLiteral
}

// row is one line of the topic map. Immutable.
type row struct {
	kind       kind
	name       string
	patterns   [][]seg
	private    bool // each session receives only what is meant for it; no shared subscriptions
	possible   bool // a client or the gateway may publish on it
	reportOnly bool
	rule       *rule // of an operator's row; nil for a built-in one
}

// builtinSegs are the captures in the pattern of a built-in row, each a whole level. A trailing
// # matches any number of levels.
var builtinSegs = map[string]segKind{
	"{device}": segDevice, "{module}": segModule, "{sensor}": segSensor, "{path…}": segPath, "{bag}": segBag,
	"{query}": segQuery, "{status}": segStatus, "{name}": segName, "{action}": segAction, "#": segRest,
}

func compile(pattern string, captures map[string]segKind) []seg {
	var out []seg
	for _, level := range strings.Split(pattern, "/") {
		if k, ok := captures[level]; ok {
			out = append(out, seg{kind: k})
		} else {
			out = append(out, seg{segLiteral, level})
		}
	}
	return out
}

// builtins returns the built-in rows of docs/spec/semantics.md 3.3, in that order. The answers
// below registry/, and the optional {query} after a request, are not IoT Hub's but this
// project's own: a client below MQTT 5 has no response topic, and names its request by ?$rid=…
// instead.
func builtins() []*row {
	rows := []struct {
		kind     kind
		name     string
		private  bool
		possible bool
		patterns []string
	}{
		{kindConnect, "connect", false, false, nil},
		{kindTelemetry, "telemetry", false, true, []string{"devices/{device}/messages/events", "devices/{device}/messages/events/{bag}"}},
		{kindModuleTelemetry, "module-telemetry", false, true,
			[]string{"devices/{device}/modules/{module}/messages/events", "devices/{device}/modules/{module}/messages/events/{bag}"}},
		{kindDevicebound, "devicebound", false, true,
			[]string{"devices/{device}/messages/devicebound", "devices/{device}/messages/devicebound/{bag}"}},
		{kindModuleInbound, "module-inbound", false, true, []string{
			"devices/{device}/modules/{module}/messages/devicebound", "devices/{device}/modules/{module}/messages/devicebound/{bag}",
			"devices/{device}/modules/{module}/inputs/{name}", "devices/{device}/modules/{module}/inputs/{name}/{bag}",
		}},
		{kindTwinGet, "twin-get", true, true, []string{"$iothub/twin/GET/{query}"}},
		{kindTwinReported, "twin-reported", true, true, []string{"$iothub/twin/PATCH/properties/reported/{query}"}},
		{kindMethodResponse, "method-response", true, true, []string{"$iothub/methods/res/{status}/{query}"}},
		{kindTwinResult, "twin-result", true, true, []string{"$iothub/twin/res/{status}/{query}"}},
		{kindTwinDesired, "twin-desired", true, true, []string{"$iothub/twin/PATCH/properties/desired/{query}"}},
		{kindMethodCall, "method-call", true, true, []string{"$iothub/methods/POST/{name}/{query}"}},
		{kindMirror, "mirror", false, true, []string{"spaces/{path…}/devices/{device}/events"}},
		{kindRegistryGet, "registry-get", true, true, []string{"registry/devices/{device}/get", "registry/devices/{device}/get/{query}"}},
		{kindRegistryCreate, "registry-create", true, true,
			[]string{"registry/devices/{device}/sensors/{sensor}/create", "registry/devices/{device}/sensors/{sensor}/create/{query}"}},
		{kindRegistryAnswer, "registry-answer", true, true, []string{"registry/responses/{name}"}},
		{kindDeployment, "deployment", true, true,
			[]string{"deviceupdate/devices/{device}/deployments/{name}/{action}",
				"deviceupdate/devices/{device}/deployments/{name}/{action}/{query}"}},
		{kindDeploymentGet, "deployment-get", true, true,
			[]string{"deviceupdate/devices/{device}/get", "deviceupdate/devices/{device}/get/{query}"}},
		{kindDeploymentAnswer, "deployment-answer", true, true, []string{"deviceupdate/responses/{name}"}},
		{kindSys, "sys", false, true, []string{"$SYS/#"}},
	}
	out := make([]*row, len(rows))
	for i, r := range rows {
		out[i] = &row{kind: r.kind, name: r.name, private: r.private, possible: r.possible}
		for _, p := range r.patterns {
			out[i].patterns = append(out[i].patterns, compile(p, builtinSegs))
		}
	}
	return out
}

// reserved reports whether topics with this first level belong to the built-in rows only.
func reserved(level string) bool {
	switch level {
	case "devices", "spaces", "deviceupdate", "registry":
		return true
	}
	return strings.HasPrefix(level, "$")
}

func (r *row) telemetry() bool { return r.kind == kindTelemetry || r.kind == kindModuleTelemetry }
