package authntest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
)

// Issuer is an issuer of tokens on loopback: it publishes its metadata and its keys.
type Issuer struct {
	URL string
	// Fetches counts how often the keys were fetched, Lured how often those of the
	// attacker, which tokens of hostile cases name.
	Fetches, Lured atomic.Int64

	server *httptest.Server
	mu     sync.Mutex
	keys   []map[string]any
	down   bool
}

func newIssuer(w *World) *Issuer {
	i := new(Issuer)
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(out http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(out).Encode(map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(out http.ResponseWriter, _ *http.Request) {
		i.Fetches.Add(1)
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.down {
			http.Error(out, "down", http.StatusBadGateway)
			return
		}
		_ = json.NewEncoder(out).Encode(map[string]any{"keys": i.keys})
	})
	mux.HandleFunc("/attacker", func(out http.ResponseWriter, _ *http.Request) {
		i.Lured.Add(1)
		_ = json.NewEncoder(out).Encode(map[string]any{"keys": []any{rsaJWK("attacker", &w.other.PublicKey)}})
	})
	i.server = httptest.NewServer(mux)
	i.URL = i.server.URL
	w.t.Cleanup(i.server.Close)
	encryption := rsaJWK("enc-1", &w.other.PublicKey)
	encryption["use"] = "enc"
	operations := rsaJWK("ops-1", &w.other.PublicKey)
	operations["key_ops"] = []string{"encrypt"}
	pinned := rsaJWK("pinned-1", &w.rsa.PublicKey)
	pinned["alg"] = "RS256"
	i.Publish(
		rsaJWK("rsa-1", &w.rsa.PublicKey), ecJWK("ec-1", &w.ec.PublicKey), ecJWK("ec-384", &w.ec384.PublicKey), edJWK("ed-1", w.ed.Public().(ed25519.PublicKey)),
		encryption, operations, pinned, rsaJWK("weak-1", &w.weak.PublicKey),
		map[string]any{"kty": "oct", "kid": "oct-1", "k": b64(w.secret)},
	)
	return i
}

// Publish replaces the keys.
func (i *Issuer) Publish(keys ...map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

// Rotate publishes one key alone, under a new id.
func (w *World) Rotate(id string) { w.Issuer.Publish(rsaJWK(id, &w.other.PublicKey)) }

// Down makes the issuer answer with errors, or no longer.
func (i *Issuer) Down(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

func rsaJWK(id string, key *rsa.PublicKey) map[string]any {
	return map[string]any{"kty": "RSA", "kid": id, "use": "sig", "n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes())}
}

func ecJWK(id string, key *ecdsa.PublicKey) map[string]any {
	point := must(key.Bytes())[1:]
	return map[string]any{
		"kty": "EC", "kid": id, "use": "sig", "crv": key.Curve.Params().Name, "x": b64(point[:len(point)/2]), "y": b64(point[len(point)/2:]),
	}
}

func edJWK(id string, key ed25519.PublicKey) map[string]any {
	return map[string]any{"kty": "OKP", "kid": id, "use": "sig", "crv": "Ed25519", "x": b64(key)}
}
