package authntest

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// Configuration is a setup as a configuration file says it: the values of "security"
// and of "tls" of a listener, "" for none, each in one line. Files that they name are
// written into dir. The configuration must have the project that is Project.
func (w *World) Configuration(setup Setup, dir string) (security, tls string) {
	a := w.Authentication(setup)
	methods := a.Methods["http"]
	authentication := map[string]any{"type": methods}
	if t := a.Tokens; t != nil {
		authentication["audience"] = t.Rules.Audiences
		authentication["issuers"] = []string{w.Issuer.URL}
		authentication["required_scopes"] = t.RequiredScopes
		authentication["organizations"] = t.Rules.Organizations
	}
	switch setup {
	case Secret:
		authentication["jwt_key"] = string(w.secret)
	case PublicKey:
		authentication["jwt_key"] = string(w.publicPEM())
	}
	security = string(must(json.Marshal(map[string]any{"authentication": authentication})))
	own := w.TLS(setup)
	if own == nil {
		return security, ""
	}
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			panic(err)
		}
		return path
	}
	files := map[string]any{
		"cert_file": write("cert.pem", own.Certificate), "key_file": write("key.pem", own.Key),
		"client_ca_file": write("clients.pem", own.ClientCA), "crl_file": write("clients.crl", own.Revoked),
	}
	if own.Optional {
		files["client_certificates"] = "optional"
	}
	return security, string(must(json.Marshal(files)))
}
