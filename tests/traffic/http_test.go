package traffic

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The client reads each form in which servers answer.
func TestHTTPForms(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"whole", "chunks", "events"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(t, form, w, r) }))
			defer s.Close()
			session, err := HTTP(s.URL+"/mcp", "key", Handshake)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := session.Call(); err != nil {
					t.Error(err)
				}
			}
			if err := session.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func answer(t *testing.T, form string, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Header.Get("Authorization") != "Bearer key" {
		t.Errorf("got %v, %v", r.Header, err)
	}
	reply := `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"` + text + `"}]}}`
	switch {
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
		return
	case strings.Contains(string(body), `"method":"initialize"`):
		w.Header().Set("Mcp-Session-Id", "one")
		reply = `{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25"}}`
	case r.Header.Get("Mcp-Session-Id") != "one" || r.Header.Get("Mcp-Protocol-Version") != string(Handshake):
		t.Errorf("got %v after the handshake", r.Header)
	case strings.Contains(string(body), `"method":"notifications/`):
		w.WriteHeader(http.StatusAccepted)
		return
	}
	switch form {
	case "events":
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data: %s\n\n", reply)
	default:
		io.WriteString(w, reply)
	}
	if form != "whole" {
		w.(http.Flusher).Flush()
	}
}

func TestRefusalIsNoCall(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]http.HandlerFunc{
		"status":       func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"error":        func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"error":{"code":-32603}}`) },
		"failed tool":  func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"isError":true,"text":"`+text+`"}`) },
		"cut off":      func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"other answer": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"result":{}}`) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(refusal)
			defer s.Close()
			if _, err := HTTP(s.URL, "", Stateless); err == nil {
				t.Error("got a session, want an error")
			}
		})
	}
}
