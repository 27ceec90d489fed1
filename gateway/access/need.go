package access

import (
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// need is what a row requires: any one of the operations, or (all) all of them. The zero need
// is never met.
type need struct {
	ops []model.Operation
	all bool
}

func (n need) never() bool { return len(n.ops) == 0 }

func (n need) String() string {
	if n.never() {
		return "never"
	}
	words := make([]string, len(n.ops))
	for i, op := range n.ops {
		words[i] = op.String()
	}
	if n.all {
		return strings.Join(words, " and ")
	}
	return strings.Join(words, " or ")
}

// The needs of the built-in rows.
var (
	readDevice   = need{ops: []model.Operation{{Access: model.Read, Type: model.Device}}}
	updateDevice = need{ops: []model.Operation{{Access: model.Update, Type: model.Device}}}
	readSensor   = need{ops: []model.Operation{{Access: model.Read, Type: model.Sensor}}}
	createSensor = need{ops: []model.Operation{{Access: model.Create, Type: model.Sensor}}}
	feedSensor   = need{ops: []model.Operation{{Access: model.Create, Type: model.Sensor}, {Access: model.Update, Type: model.Sensor}}}
	readSystem   = need{ops: []model.Operation{{Access: model.Read, Type: model.System}}}
)

// place is where a need must be met: a path in the space model.
type place struct {
	path space.Path
	// node is the device that the resource is or belongs to, for device_self_grant; zero if there
	// is none or it is unknown.
	node space.ID
}

// anywhere is the place of a resource that is unknown: at "/", where only a right on everything
// counts.
var anywhere = place{path: space.Root}
