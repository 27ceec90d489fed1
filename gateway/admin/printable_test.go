package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// TestAnswersObeyNobody: curl shows an answer as it is. It holds nothing that a terminal obeys, and is the
// same document to a program.
func TestAnswersObeyNobody(t *testing.T) {
	const name = "x\x1b[2J\u009b1m\u202e\x7f"
	f := start(t, func(o *admin.Options) {
		o.Sources.Sessions = func(context.Context, admin.SessionQuery) ([]admin.Session, error) {
			return []admin.Session{{ClientID: name}}, nil
		}
		o.Sources.Audit = func(int, func(*message.AuditRecord) bool) []message.AuditRecord {
			return []message.AuditRecord{{ClientID: name, Count: 1}}
		}
	})
	for path, holds := range map[string]any{
		"/v1/sessions":                  &[]admin.Session{},
		"/v1/audit":                     &[]message.AuditRecord{},
		"/v1/audit?follow=true&limit=1": &message.AuditRecord{},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.page+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(res.Body).ReadString('\n')
		_ = res.Body.Close()
		if err != nil || strings.ContainsAny(line, "\x1b\u009b\u202e\x7f") {
			t.Errorf("%s answers %q, %v", path, line, err)
		}
		got := ""
		if err := json.Unmarshal([]byte(line), holds); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		switch x := holds.(type) {
		case *[]admin.Session:
			got = (*x)[0].ClientID
		case *[]message.AuditRecord:
			got = (*x)[0].ClientID
		case *message.AuditRecord:
			got = x.ClientID
		}
		if got != name {
			t.Errorf("%s: a program reads %q", path, got)
		}
	}
}
