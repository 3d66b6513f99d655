package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	theToken  = "hvs.the-token"
	theSecret = "s3cr3t-value"
	roleID    = "the-role-id"
	secretID  = "the-secret-id"
)

// vault is a server made from what is published of the API: KV version 2 at secret/
// and at team/kv, AppRole at approle/ and at other/.
type vault struct {
	revoked atomic.Int32
	handler http.Handler
}

func (v *vault) ServeHTTP(w http.ResponseWriter, r *http.Request) { v.handler.ServeHTTP(w, r) }

func newVault() *vault {
	v := &vault{}
	mux := http.NewServeMux()
	errorsOf := func(w http.ResponseWriter, status int, texts ...string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": append([]string{}, texts...)})
	}
	kv := func(fields string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			token := r.Header.Get("X-Vault-Token")
			if token != theToken && token != "hvs.of-the-role" || r.Header.Get("X-Vault-Request") != "true" {
				errorsOf(w, http.StatusForbidden, "permission denied for "+token)
				return
			}
			_, _ = w.Write([]byte(`{"request_id":"x","lease_id":"","data":{"data":` + fields + `,"metadata":{"deletion_time":"","destroyed":false,"version":3}}}`))
		}
	}
	mux.Handle("GET /v1/secret/data/alpha", kv(`{"password":"`+theSecret+`","user":"u","port":5432}`))
	mux.Handle("GET /v1/secret/data/one", kv(`{"only":"`+theSecret+`\nand more"}`))
	mux.Handle("GET /v1/secret/data/a%20b/c", kv(`{"only":"`+theSecret+`"}`))
	mux.Handle("GET /v1/secret/data/empty", kv(`{"only":""}`))
	mux.Handle("GET /v1/secret/data/null", kv(`null`))
	mux.Handle("GET /v1/team/kv/data/deep/er", kv(`{"only":"`+theSecret+`"}`))
	mux.HandleFunc("GET /v1/secret/data/deleted", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"data":{"data":null,"metadata":{"deletion_time":"2026-01-01T00:00:00Z","destroyed":false,"version":1}}}`))
	})
	mux.HandleFunc("GET /v1/secret/data/destroyed", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"data":{"data":null,"metadata":{"deletion_time":"","destroyed":true,"version":1}}}`))
	})
	mux.HandleFunc("GET /v1/secret/data/tenant", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vault-Namespace") != "team-a" {
			errorsOf(w, http.StatusNotFound)
			return
		}
		kv(`{"only":"`+theSecret+`"}`)(w, r)
	})
	mux.HandleFunc("GET /v1/secret/data/huge", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"data":{"data":{"x":"` + strings.Repeat(theSecret, maxAnswer/8) + `"}}}`))
	})
	mux.HandleFunc("GET /v1/secret/data/broken", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"data":{"data":"` + theSecret + `"}}`))
	})
	mux.HandleFunc("GET /v1/secret/data/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("GET /v1/secret/data/moved", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://active.example:8200/v1/secret/data/alpha", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("GET /v1/sealed/data/x", func(w http.ResponseWriter, _ *http.Request) {
		errorsOf(w, http.StatusServiceUnavailable, "Vault is sealed")
	})
	mux.HandleFunc("POST /v1/auth/{mount}/login", func(w http.ResponseWriter, r *http.Request) {
		var body map[string]string
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body["role_id"] != roleID || body["secret_id"] != secretID {
			errorsOf(w, http.StatusBadRequest, "invalid role or secret ID "+body["secret_id"])
			return
		}
		_, _ = w.Write([]byte(`{"auth":{"client_token":"hvs.of-the-role","lease_duration":1200,"renewable":true}}`))
	})
	mux.HandleFunc("POST /v1/auth/token/revoke-self", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vault-Token") == "hvs.of-the-role" {
			v.revoked.Add(1)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		errorsOf(w, http.StatusNotFound, "no handler for route \""+strings.TrimPrefix(r.URL.Path, "/v1/")+"\"")
	})
	v.handler = mux
	return v
}

func TestRun(t *testing.T) {
	t.Parallel()
	token := map[string]string{"VAULT_TOKEN": theToken}
	role := map[string]string{"VAULT_ROLE_ID": roleID, "VAULT_SECRET_ID": secretID}
	with := func(base map[string]string, name, value string) map[string]string {
		out := map[string]string{name: value}
		maps.Copy(out, base)
		return out
	}
	for _, tt := range []struct {
		name, place string
		env         map[string]string
		want, err   string
	}{
		{"a field", "secret/alpha#password", token, theSecret, ""},
		{"as the API has it", "secret/data/alpha#password", token, theSecret, ""},
		{"slashes around", "/secret/alpha/#password", token, theSecret, ""},
		{"the only field", "secret/one", token, theSecret + "\nand more", ""},
		{"a space", "secret/a b/c", token, theSecret, ""},
		{"a deep mount", "team/kv/deep/er", with(token, "VAULT_MOUNT", "team/kv/"), theSecret, ""},
		{"a namespace", "secret/tenant", with(token, "VAULT_NAMESPACE", "team-a"), theSecret, ""},
		{"no namespace", "secret/tenant", token, "", "no such secret"},
		{"OpenBao's names", "secret/alpha#password", map[string]string{"BAO_TOKEN": theToken, "VAULT_TOKEN": "x"}, theSecret, ""},
		{"AppRole", "secret/alpha#password", role, theSecret, ""},
		{"AppRole elsewhere", "secret/alpha#password", with(role, "VAULT_APPROLE_MOUNT", "other"), theSecret, ""},
		{"wrong secret id", "secret/alpha#password", with(map[string]string{"VAULT_ROLE_ID": roleID}, "VAULT_SECRET_ID", "a-wrong-secret-id"), "", "log in: status 400"},
		{"wrong token", "secret/alpha#password", map[string]string{"VAULT_TOKEN": "hvs.another"}, "", `status 403: the token or its policy does not allow it, or there is no such engine: ["permission denied for [hidden]"]`},
		{"nobody", "secret/alpha#password", nil, "", "set VAULT_TOKEN"},
		{"several fields", "secret/alpha", token, "", `has 3 fields: name one behind "#": ["password" "port" "user"]`},
		{"no such field", "secret/alpha#pass", token, "", `has no field "pass"`},
		{"a number", "secret/alpha#port", token, "", `"port" of secret/alpha is no text`},
		{"an empty field", "secret/empty", token, "", "is empty"},
		{"no data", "secret/null", token, "", "was deleted, or its engine is not KV version 2"},
		{"deleted", "secret/deleted#x", token, "", "its newest version was deleted"},
		{"destroyed", "secret/destroyed#x", token, "", "its newest version was destroyed"},
		{"no such secret", "secret/none#x", token, "", "status 404: there is no such secret"},
		{"wrong mount", "kv/alpha#x", token, "", `no handler for route`},
		{"sealed", "sealed/x", token, "", "status 503: it is sealed"},
		{"huge", "secret/huge", token, "", "more than 1048576 bytes"},
		{"not as promised", "secret/broken", token, "", "not what Vault's API promises"},
		{"another host", "secret/moved", token, "", "name that in VAULT_ADDR"},
		{"above", "secret/../sys/x", token, "", "one that is . or .."},
		{"mount alone", "secret", token, "", "write MOUNT/PATH#FIELD"},
		{"nothing", "", token, "", "write MOUNT/PATH#FIELD"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := newVault()
			s := httptest.NewTLSServer(v)
			defer s.Close()
			env := with(with(tt.env, "VAULT_ADDR", s.URL), "VAULT_CACERT", certificate(t, s))
			var out bytes.Buffer
			err := run([]string{tt.place}, func(name string) string { return env[name] }, &out)
			if got := out.String(); got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %.100q and %v, want %q and %q", got, err, tt.want, tt.err)
			}
			for _, secret := range []string{theToken, theSecret, roleID, secretID, "hvs.another", "hvs.of-the-role", "a-wrong-secret-id"} {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows a secret: %v", err)
				}
			}
			if logins := env["VAULT_ROLE_ID"] != "" && tt.want != ""; logins != (v.revoked.Load() == 1) {
				t.Errorf("tokens given back: got %d", v.revoked.Load())
			}
		})
	}
}

func certificate(t *testing.T, s *httptest.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestServerIsChecked(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(newVault())
	defer s.Close()
	plain := httptest.NewServer(newVault())
	defer plain.Close()
	for _, tt := range []struct{ name, address, err string }{
		{"unknown certificate", s.URL, "certificate"},
		{"plain, on this host", plain.URL, ""},
		{"plain, elsewhere", "http://192.0.2.1:8200", "must begin with https"},
		{"no address", "", "VAULT_ADDR must be"},
		{"another scheme", "ftp://x", "must begin with https"},
		{"with a password", "https://u:p@x", "VAULT_ADDR must be"},
	} {
		env := map[string]string{"VAULT_ADDR": tt.address, "VAULT_TOKEN": theToken, "VAULT_SKIP_VERIFY": "1", "BAO_SKIP_VERIFY": "true"}
		err := run([]string{"secret/alpha#password"}, func(name string) string { return env[name] }, &bytes.Buffer{})
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.err)
		}
	}
}

func TestSlowServer(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(newVault())
	defer plain.Close()
	s, err := newServer(func(name string) string { return map[string]string{"ADDR": plain.URL}[name] })
	if err != nil {
		t.Fatal(err)
	}
	s.client.Timeout = 50 * time.Millisecond
	if _, err := s.read(t.Context(), place{"secret", "slow", ""}); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("got %v", err)
	}
}
