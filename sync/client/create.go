package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// NewSensor is a sensor to be created. Each type is given by its name or by its id, never by both.
type NewSensor struct {
	DeviceID   space.ID `json:"deviceId"`
	SpaceID    space.ID `json:"spaceId,omitzero"`
	HardwareID string   `json:"hardwareId"`
	Port       string   `json:"port,omitempty"`
	PollRate   int      `json:"pollRate,omitempty"`
	Type       string   `json:"type,omitempty"`
	TypeID     int      `json:"typeId,omitempty"`
	DataType   string   `json:"dataType,omitempty"`
	DataTypeID int      `json:"dataTypeId,omitempty"`
}

// maxRefusal is how many bytes of an answer to a POST are read at most.
const maxRefusal = 64 << 10

// CreateSensor creates a sensor and returns its id with status 201. It may be
// repeated: if the server refuses because a sensor already has the hardware id, it
// returns that sensor's id with 200 if it belongs to the same device, and 409 otherwise.
// Another status without an error (400, 403, 404) is final. After an error the call may be
// repeated; the status is then what the server answered, 0 if it did not answer.
func (c *Client) CreateSensor(ctx context.Context, n NewSensor) (space.ID, int, error) {
	const path = "/sensors"
	status, body, err := c.post(ctx, path, n)
	if err != nil {
		return space.ID{}, status, err
	}
	switch status {
	case http.StatusCreated:
		var text string
		if err := json.Unmarshal(body, &text); err != nil {
			return space.ID{}, status, malformed(path, err)
		}
		id, err := space.ParseID(text)
		if err != nil {
			return space.ID{}, status, malformed(path, err)
		}
		return id, status, nil
	case http.StatusBadRequest, http.StatusConflict:
		return c.taken(ctx, path, n)
	case http.StatusForbidden, http.StatusNotFound:
		return space.ID{}, status, nil
	}
	err = statusError(path, status)
	var e *Error
	if errors.As(err, &e) {
		e.Op = http.MethodPost
	}
	return space.ID{}, status, err
}

// taken looks for the sensor that already has the hardware id of the refused one.
func (c *Client) taken(ctx context.Context, path string, n NewSensor) (space.ID, int, error) {
	q := url.Values{"hardwareIds": {n.HardwareID}}
	if strings.ContainsAny(n.HardwareID, ",;") { // the server would read it as several hardware ids
		q = url.Values{"deviceIds": {n.DeviceID.String()}}
	}
	list, err := c.collection(ctx, path, q)
	if err != nil {
		return space.ID{}, 0, err
	}
	for _, o := range list {
		s, err := wire.ParseSensor(o)
		if err != nil {
			return space.ID{}, 0, malformed(path, err)
		}
		// The server may not know the filter, and then answers with all sensors.
		if !strings.EqualFold(s.HardwareID, n.HardwareID) {
			continue
		}
		if s.DeviceID == n.DeviceID && !s.ID.IsZero() {
			return s.ID, http.StatusOK, nil
		}
		return space.ID{}, http.StatusConflict, nil
	}
	return space.ID{}, http.StatusBadRequest, nil
}

// post sends one POST, and it is the caller who decides whether to repeat it. Only after a 401,
// which means that the server changed nothing, it is sent once more if there is another token.
func (c *Client) post(ctx context.Context, path string, document any) (int, []byte, error) {
	fail := func(err error) (int, []byte, error) {
		return 0, nil, &Error{Op: http.MethodPost, Path: path, Hint: hint(err), Err: err}
	}
	text, err := json.Marshal(document)
	if err != nil {
		return fail(err)
	}
	if err := c.limiter.Wait(ctx); err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	u := *c.url
	u.Path = strings.TrimRight(u.Path, "/") + base + path
	var body []byte
	status, err := c.authorized(ctx, func(authorization string) (status int, err error) {
		status, body, err = c.tryPost(ctx, u.String(), authorization, text)
		return status, err
	})
	if err != nil {
		return fail(err)
	}
	return status, body, nil
}

// tryPost is one POST. The status is 0 if no complete answer came.
func (c *Client) tryPost(ctx context.Context, address, authorization string, text []byte) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(text))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Authorization", authorization)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	resp, err := c.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if err != nil {
		return 0, nil, err
	}
	return resp.StatusCode, body, nil
}
