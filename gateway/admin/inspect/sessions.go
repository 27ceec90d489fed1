package inspect

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// Sessions lists the sessions that match. The list is never nil.
func (n *Inspector) Sessions(q admin.SessionQuery) []admin.Session {
	list := []admin.Session{}
	for _, s := range n.o.Broker.Sessions() {
		if q.Connected && !s.Connected || !sessionMatches(s, q.Principal) {
			continue
		}
		row := sessionRow(s)
		if all, suspended := n.o.Broker.Filters(s.Key); len(all) > 0 {
			row.Subscriptions, row.Suspended = all, suspended
		}
		list = append(list, row)
		if q.Limit > 0 && len(list) == q.Limit {
			break
		}
	}
	return list
}

// sessionMatches reports whether text is part of the session's client id or of a name of its
// principal. Upper and lower case are the same.
func sessionMatches(s broker.SessionInfo, text string) bool {
	if text == "" {
		return true
	}
	names := []string{s.ClientID}
	if s.Principal != nil {
		names = append(names, s.Principal.Key, s.Principal.Name)
	}
	return slices.ContainsFunc(names, func(p string) bool { return strings.Contains(strings.ToLower(p), strings.ToLower(text)) })
}

func sessionRow(s broker.SessionInfo) admin.Session {
	row := admin.Session{
		Key:           s.Key,
		ClientID:      s.ClientID,
		Listener:      s.Listener,
		Remote:        s.Remote,
		Protocol:      "3.1.1",
		Connected:     s.Connected,
		Since:         s.Since,
		Expires:       s.CredentialEnds,
		Subscriptions: []string{},
		Inflight:      s.Inflight,
		Queued:        s.Queued,
		QueuedBytes:   int64(s.QueuedBytes),
		LostOldest:    s.LostOldest,
		LostNewest:    s.LostNewest,
		Overflowing:   s.Overflowing,
		Received:      s.Received,
		Sent:          s.Sent,
		Denied:        s.Denied,
		TakeOvers:     s.TakeOvers,
	}
	if s.Version == 5 {
		row.Protocol = "5"
	}
	if p := s.Principal; p != nil {
		row.Principal, row.Name, row.Kind, row.Credential = p.Key, p.Name, p.Kind.String(), p.Credential.String()
	}
	return row
}

// Disconnect ends the connections that the request names. It is an error if nothing has that
// name.
func (n *Inspector) Disconnect(r admin.DisconnectRequest) (admin.DisconnectResult, error) {
	why := cmp.Or(r.Reason, "an operator asked for it")
	known := false
	result := admin.DisconnectResult{}
	closed := map[string]bool{} // principals whose connections have been ended
	for _, s := range n.o.Broker.Sessions() {
		switch {
		case s.Principal == nil:
		case r.Session != "":
			if s.Key == r.Session {
				known = true
				result.Closed += n.o.Broker.DisconnectSession(s.Key, message.AdministrativeAction, why)
			}
		case (s.Principal.Key == r.Principal || s.Principal.Key == "device:"+r.Principal) && !closed[s.Principal.Key]:
			known, closed[s.Principal.Key] = true, true
			result.Closed += n.o.Broker.Disconnect(s.Principal.Key, message.AdministrativeAction, why)
		}
	}
	if !known {
		return result, &admin.Error{
			Status: http.StatusNotFound,
			What:   fmt.Sprintf("nobody called %q has a session here", cmp.Or(r.Session, r.Principal)),
			Where:  "disconnect",
			Next:   "gatehousectl sessions lists them; --json shows their keys",
		}
	}
	return result, nil
}
