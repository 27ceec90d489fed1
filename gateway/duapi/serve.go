package duapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// reply is the answer to a request.
type reply struct {
	status     int
	body       []byte
	retryAfter string
}

func refusal(status int, code, text string) reply {
	body, _ := json.Marshal(map[string]any{"error": map[string]string{"code": code, "message": text}})
	return reply{status: status, body: body}
}

// ServeHTTP answers one request. It refuses the request if too many are being answered.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	default:
		a := refusal(http.StatusServiceUnavailable, "ServerBusy", "too many requests at once")
		a.retryAfter = "1"
		write(w, a)
		return
	}
	write(w, s.serve(w, r))
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) reply {
	q, known := route(r.URL.EscapedPath())
	if !known {
		return refusal(http.StatusNotFound, "NotFound", "this gateway serves the four deployment actions of Device Update only")
	}
	if r.Method != q.method {
		w.Header().Set("Allow", q.method)
		return refusal(http.StatusMethodNotAllowed, "MethodNotAllowed", "this is asked for with "+q.method)
	}
	token, p, refused := s.prove(r)
	if refused != nil {
		s.audit(r, "", &q, false, refused.Reason, refused.Detail)
		w.Header().Set("WWW-Authenticate", "Bearer")
		return refusal(http.StatusUnauthorized, "Unauthorized", "a valid bearer token is needed")
	}
	if code, text := checkQuery(r.URL.RawQuery); code != "" {
		return refusal(http.StatusBadRequest, code, text)
	}
	if text := q.check(); text != "" {
		return refusal(http.StatusBadRequest, "BadRequest", text)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return refusal(http.StatusRequestEntityTooLarge, "RequestTooLarge", "the body is too large")
		}
		return refusal(http.StatusBadRequest, "BadRequest", "the body did not arrive")
	}
	if text := q.checkBody(body); text != "" {
		return refusal(http.StatusBadRequest, "BadRequest", text)
	}
	if !strings.EqualFold(q.instance, s.o.Instance) {
		s.audit(r, p.Key, &q, false, "unknown-instance", "")
		return refusal(http.StatusNotFound, "NotFound", "this gateway does not serve that instance")
	}
	may := s.o.Gateway.May(r.Context(), p, q.action)
	s.audit(r, p.Key, &q, may.Allowed, may.Reason, may.Detail)
	switch {
	case may.Allowed:
		return s.do(r.Context(), p, &q, token, body)
	case may.Hold:
		return refusal(http.StatusServiceUnavailable, "NotNow", "this cannot be decided while the cloud is out of sight")
	}
	return refusal(http.StatusForbidden, "Forbidden", "not authorised")
}

// prove verifies the request's bearer token, of which there must be exactly one.
func (s *Server) prove(r *http.Request) (token string, p *principal.Principal, refused *Refused) {
	all := r.Header.Values("Authorization")
	if len(all) != 1 {
		return "", nil, &Refused{"no-credentials", ""}
	}
	scheme, token, ok := strings.Cut(all[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", nil, &Refused{"no-credentials", "not a bearer token"}
	}
	p, err := s.o.Gateway.Prove(token)
	switch {
	case err == nil && p != nil:
		return token, p, nil
	case errors.As(err, &refused):
		return "", nil, refused
	}
	return "", nil, &Refused{"not-provable", ""}
}

// do carries out an action that is allowed: in the cloud or, if that cannot be reached, here.
func (s *Server) do(ctx context.Context, p *principal.Principal, q *request, token string, body []byte) reply {
	if s.o.Endpoint == nil {
		if s.o.Online() {
			return refusal(http.StatusServiceUnavailable, "NoEndpoint",
				"this gateway is not configured to forward to Device Update (deviceUpdate.endpoint)")
		}
		return s.local(ctx, p, q, body)
	}
	if q.action == update.Cancel && !s.o.Gateway.May(ctx, p, update.CancelReleased).Allowed {
		// The caller may cancel only a deployment that was not released yet. Those wait here.
		return s.local(ctx, p, q, body)
	}
	answer, err := s.forward(ctx, q, token, body)
	switch {
	case err == nil:
		return answer
	case errors.Is(err, errNotReached), q.action == update.Get && !errors.Is(err, errBadAnswer):
		s.o.Log.Info("Device Update cannot be reached: the gateway does what it can", "action", q.action, "err", err)
		return s.local(ctx, p, q, body)
	case errors.Is(err, errBadAnswer):
		s.o.Log.Warn("Device Update's answer is not usable", "action", q.action, "err", err)
		return refusal(http.StatusBadGateway, "BadGateway", "the update service's answer is not usable")
	}
	s.o.Log.Warn("Device Update did not answer", "action", q.action, "err", err)
	return refusal(http.StatusGatewayTimeout, "OutcomeUnknown",
		"the update service did not answer: whether it acted is not known, ask it again")
}

// local carries out the action by the guard: on the device that a get names, or on each device that
// has the deployment. If one of them fails, the first failure is the answer.
func (s *Server) local(ctx context.Context, p *principal.Principal, q *request, body []byte) reply {
	var devices []string
	switch q.action {
	case update.Create:
		// Only the cloud knows which devices are in a group, and no updates are stored here.
		return refusal(http.StatusServiceUnavailable, "NoUpdateStore", "the update service cannot be reached and this gateway keeps no updates")
	case update.Get:
		if !s.o.Gateway.Known(q.device) {
			return refusal(http.StatusNotFound, "NotFound", "this gateway does not know the device")
		}
		devices = []string{q.device}
	default:
		if devices = s.o.Gateway.Holders(q.deployment); len(devices) == 0 {
			return refusal(http.StatusNotFound, "DeploymentNotFound", "no device of this gateway has that deployment")
		}
	}
	var worst, first *update.Answer
	for _, id := range devices {
		a, err := s.o.Gateway.Local(ctx, p, update.Request{Device: id, Deployment: q.deployment, Action: q.action, Body: body})
		if err != nil {
			s.o.Log.Error("local deployment action failed", "device", id, "action", q.action, "err", err)
			a = update.Answer{Status: http.StatusInternalServerError, Body: refusal(0, "InternalError", "the gateway could not do this").body}
		}
		if first == nil {
			first = &a
		}
		if a.Status >= 300 && worst == nil {
			worst = &a
		}
	}
	switch {
	case worst != nil:
		return reply{status: worst.Status, body: worst.Body}
	case q.action == update.Get:
		return reply{status: first.Status, body: first.Body}
	}
	// The members of Device Update's own answer that are known here.
	text, err := json.Marshal(map[string]any{
		"deploymentId": q.deployment, "groupId": q.group, "deviceClassSubgroups": []string{q.class},
		"isCanceled": q.action == update.Cancel, "isRetried": q.action == update.Retry, "gatewayDevices": devices,
	})
	if err != nil {
		return refusal(http.StatusInternalServerError, "InternalError", "the gateway could not answer")
	}
	return reply{status: http.StatusOK, body: text}
}

func write(w http.ResponseWriter, a reply) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if a.retryAfter != "" {
		h.Set("Retry-After", a.retryAfter)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // an error means that the caller is gone, so nobody is left to tell
}

func (s *Server) audit(r *http.Request, who string, q *request, allowed bool, reason, detail string) {
	s.o.Audit(message.AuditRecord{
		Time:      s.o.Now(),
		Event:     "rest",
		Allowed:   allowed,
		Principal: who,
		Remote:    r.RemoteAddr,
		Topic:     q.subject(),
		Reason:    reason,
		Detail:    detail,
		Count:     1,
	})
}
