package authntest

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Good are credentials that are let in, so that what others are refused for is what
// they differ in.
func (w *World) Good() []Case {
	alice := w.CA.Sign(Subject{CN: "alice", Email: "alice@example.com"})
	return []Case{
		{Name: "RS256", Setup: Issued, Header: bearer(w.issued(nil))},
		{Name: "PS384", Setup: Issued, Header: bearer(w.issued(func(d *draft) { d.sign(jwt.SigningMethodPS384, "rsa-1", w.rsa) }))},
		{Name: "ES256", Setup: Issued, Header: bearer(w.issued(func(d *draft) { d.sign(jwt.SigningMethodES256, "ec-1", w.ec) }))},
		{Name: "ES384", Setup: Issued, Header: bearer(w.issued(func(d *draft) { d.sign(jwt.SigningMethodES384, "ec-384", w.ec384) }))},
		{Name: "EdDSA", Setup: Issued, Header: bearer(w.issued(func(d *draft) { d.sign(jwt.SigningMethodEdDSA, "ed-1", w.ed) }))},
		{Name: "key pinned to RS256", Setup: Issued, Header: bearer(w.issued(func(d *draft) { d.head("kid", "pinned-1") }))},
		{Name: "audience in a list", Setup: Issued, Header: bearer(w.issued(func(d *draft) { d.set("aud", []string{"other", Audience}) }))},
		{Name: "expired within the leeway", Setup: Issued, Header: bearer(w.issued(func(d *draft) { d.set("exp", time.Now().Unix()-10) }))},
		{Name: "only key of its kind, not named", Setup: Issued, Header: bearer(w.issued(func(d *draft) { d.sign(jwt.SigningMethodEdDSA, "", w.ed); delete(d.header, "kid") }))},
		{Name: "API key beside tokens", Setup: Issued, Header: bearer(w.good)},
		{Name: "HS256", Setup: Secret, Header: bearer(w.secretly(nil))},
		{Name: "HS512", Setup: Secret, Header: bearer(w.secretly(func(d *draft) { d.sign(jwt.SigningMethodHS512, "", w.secret) }))},
		{Name: "RS256 by a configured key", Setup: PublicKey, Header: bearer(w.issued(nil))},
		{Name: "API key", Setup: Keys, Header: key(w.good)},
		{Name: "API key as bearer", Setup: Keys, Header: bearer(w.good)},
		{Name: "certificate", Setup: Certificates, Certificate: alice},
		{Name: "certificate, optional", Setup: Optional, Certificate: alice},
		{Name: "token without a certificate", Setup: Optional, Header: bearer(w.issued(nil))},
		{Name: "certificate before a token", Setup: Optional, Certificate: alice, Header: bearer(w.issued(nil))},
	}
}

// Hostile are credentials that nobody may be let in with.
func (w *World) Hostile() []Case {
	var all []Case
	all = append(all, w.signatureCases()...)
	all = append(all, w.headerCases()...)
	all = append(all, w.claimCases()...)
	all = append(all, w.shapeCases()...)
	all = append(all, w.configuredKeyCases()...)
	all = append(all, w.keyCases()...)
	return append(all, w.certificateCases()...)
}

// tokens makes cases of the issued setup that are answered 401.
func tokens(named map[string]string) (cases []Case) {
	for name, token := range named {
		cases = append(cases, Case{Name: name, Setup: Issued, Header: bearer(token), Status: http.StatusUnauthorized})
	}
	return cases
}

func (w *World) signatureCases() []Case {
	public := w.publicPEM()
	ecPublic := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(&w.ec.PublicKey))})
	hs := func(id string, secret []byte) string {
		return w.issued(func(d *draft) { d.sign(jwt.SigningMethodHS256, id, secret) })
	}
	unsigned := func(algorithm string) string {
		return w.issued(func(d *draft) { d.head("alg", algorithm); d.method = nil })
	}
	flip := func(signature []byte) []byte { signature[len(signature)/2] ^= 1; return signature }
	return tokens(map[string]string{
		"alg none":                              unsigned("none"),
		"alg None":                              unsigned("None"),
		"alg NONE":                              unsigned("NONE"),
		"alg empty":                             unsigned(""),
		"alg none with a signature":             w.issued(func(d *draft) { d.head("alg", "none") }),
		"no alg":                                w.issued(func(d *draft) { delete(d.header, "alg") }),
		"alg in lower case":                     w.issued(func(d *draft) { d.head("alg", "rs256") }),
		"RS256 unsigned":                        unsigned("RS256"),
		"HS256 with the RSA public key":         hs("rsa-1", public),
		"HS256 with the RSA public key, DER":    hs("rsa-1", must(x509.MarshalPKIXPublicKey(&w.rsa.PublicKey))),
		"HS256 with the RSA modulus":            hs("rsa-1", w.rsa.N.Bytes()),
		"HS256 with the EC public key":          hs("ec-1", ecPublic),
		"HS256 with the Ed25519 public key":     hs("ed-1", w.ed[32:]),
		"HS256 with a published secret":         hs("oct-1", w.secret),
		"HS256 with an empty secret":            hs("rsa-1", []byte{}),
		"another's key under a known id":        w.issued(func(d *draft) { d.key = w.other }),
		"PS256 said to be RS256":                w.issued(func(d *draft) { d.method = jwt.SigningMethodPS256 }),
		"RS256 said to be ES256":                w.issued(func(d *draft) { d.head("alg", "ES256") }),
		"RS256 by the id of the EC key":         w.issued(func(d *draft) { d.head("kid", "ec-1") }),
		"PS256 by a key pinned to RS256":        w.issued(func(d *draft) { d.sign(jwt.SigningMethodPS256, "pinned-1", w.rsa) }),
		"key for encryption":                    w.issued(func(d *draft) { d.head("kid", "enc-1"); d.key = w.other }),
		"key whose operations are others":       w.issued(func(d *draft) { d.head("kid", "ops-1"); d.key = w.other }),
		"RSA key of 1024 bits":                  w.issued(func(d *draft) { d.head("kid", "weak-1"); d.key = w.weak }),
		"ES256 with a key of P-384":             w.es256With384(),
		"ES384 with a key of P-256":             w.es384With256(),
		"ES256, signature of zeros":             w.issued(func(d *draft) { d.sign(jwt.SigningMethodES256, "ec-1", w.ec); d.signature = zeros }),
		"ES256, signature of the curve's order": w.issued(func(d *draft) { d.sign(jwt.SigningMethodES256, "ec-1", w.ec); d.signature = w.order }),
		"ES256, signature as DER":               w.issued(func(d *draft) { d.sign(jwt.SigningMethodES256, "ec-1", w.ec); d.signature = asDER }),
		"EdDSA, one bit altered":                w.issued(func(d *draft) { d.sign(jwt.SigningMethodEdDSA, "ed-1", w.ed); d.signature = flip }),
		"RS256, one bit altered":                w.issued(func(d *draft) { d.signature = flip }),
		"RS256, signature cut":                  w.issued(func(d *draft) { d.signature = func(s []byte) []byte { return s[:len(s)-1] } }),
		"RS256, signature longer":               w.issued(func(d *draft) { d.signature = func(s []byte) []byte { return append(s, 0) } }),
		"signature of another message":          w.swapped(),
		"ES512":                                 w.issued(func(d *draft) { d.head("alg", "ES512") }),
		"algorithm of secp256k1":                w.issued(func(d *draft) { d.head("alg", "ES256K") }),
		"retired key":                           w.issued(func(d *draft) { d.head("kid", "rsa-0"); d.key = w.other }),
		"no key named where many fit":           w.issued(func(d *draft) { delete(d.header, "kid") }),
	})
}

func zeros(signature []byte) []byte { return make([]byte, len(signature)) }

func (w *World) order(signature []byte) []byte {
	n := w.ec.Params().N.Bytes()
	return append(append([]byte{}, n...), n...)
}

func asDER(signature []byte) []byte {
	integer := func(b []byte) []byte { return append([]byte{2, byte(len(b) + 1), 0}, b...) }
	body := append(integer(signature[:32]), integer(signature[32:])...)
	return append([]byte{0x30, byte(len(body))}, body...)
}

// es256With384 says ES256, but is signed by a key of another curve.
func (w *World) es256With384() string {
	method := *jwt.SigningMethodES256
	method.KeySize, method.CurveBits = 48, 384
	return w.issued(func(d *draft) { d.sign(&method, "ec-384", w.ec384); d.head("alg", "ES256") })
}

// es384With256 is signed as ES384 wants, but by a key of another curve.
func (w *World) es384With256() string {
	method := *jwt.SigningMethodES384
	method.CurveBits = 256
	return w.issued(func(d *draft) { d.sign(&method, "ec-1", w.ec); d.head("alg", "ES384") })
}

// swapped has the claims of one good token and the signature of another.
func (w *World) swapped() string {
	one := strings.Split(w.issued(nil), ".")
	other := strings.Split(w.issued(func(d *draft) { d.set("sub", "root") }), ".")
	return other[0] + "." + other[1] + "." + one[2]
}

func (w *World) headerCases() []Case {
	attacker := func(name string, value any) string {
		return w.issued(func(d *draft) { d.key = w.other; d.head("kid", "attacker"); d.head(name, value) })
	}
	id := func(value any) string {
		return w.issued(func(d *draft) { d.sign(jwt.SigningMethodHS256, "", []byte{}); d.head("kid", value) })
	}
	head := func(name string, value any) string {
		return w.issued(func(d *draft) { d.head(name, value) })
	}
	good := map[string]any{"alg": "RS256", "kid": "rsa-1", "typ": "JWT"}
	return tokens(map[string]string{
		"key in the token (jwk)":             attacker("jwk", rsaJWK("attacker", &w.other.PublicKey)),
		"keys elsewhere (jku)":               attacker("jku", w.Issuer.URL+"/attacker"),
		"certificate elsewhere (x5u)":        attacker("x5u", w.Issuer.URL+"/attacker"),
		"certificate in the token (x5c)":     attacker("x5c", []string{base64.StdEncoding.EncodeToString(w.strangers.certificate.Raw)}),
		"key id is a path":                   id("../../../../../../dev/null"),
		"key id is SQL":                      id("x' UNION SELECT 'secret' -- "),
		"key id is a command":                id("$(id)|`id`"),
		"key id has NUL":                     id("rsa-1\x00"),
		"key id is a URL":                    id(w.Issuer.URL + "/attacker"),
		"key id is huge":                     id(strings.Repeat("k", 8<<10)),
		"key id is a number":                 id(1),
		"key id is a list":                   id([]string{"rsa-1"}),
		"key id is null, HMAC":               id(nil),
		"critical extension":                 head("crit", []string{"exp"}),
		"critical extension that is unknown": w.issued(func(d *draft) { d.head("crit", []string{"x"}); d.head("x", 1) }),
		"empty list of critical extensions":  head("crit", []string{}),
		"critical null":                      head("crit", nil),
		"payload not encoded (b64)":          w.issued(func(d *draft) { d.head("b64", false); d.head("crit", []string{"b64"}) }),
		"payload not encoded, not critical":  head("b64", false),
		"type of something else":             head("typ", "dpop+jwt"),
		"type of a logout token":             head("typ", "logout+jwt"),
		"type is a list":                     head("typ", []string{"JWT"}),
		"token in a token":                   head("cty", "JWT"),
		"alg twice":                          w.issued(func(d *draft) { d.rawHeader = merged(good, `"alg":"none"`) }),
		"alg twice, escaped":                 w.issued(func(d *draft) { d.rawHeader = merged(good, `"\u0061lg":"HS256"`) }),
		"kid twice":                          w.issued(func(d *draft) { d.rawHeader = merged(good, `"kid":"ec-1"`) }),
		"alg is a list":                      head("alg", []string{"RS256"}),
		"alg in another member":              w.issued(func(d *draft) { d.rawHeader = `{"Alg":"RS256","kid":"rsa-1"}` }),
		"header is a list":                   w.issued(func(d *draft) { d.rawHeader = `["RS256"]` }),
		"header is null":                     w.issued(func(d *draft) { d.rawHeader = `null` }),
		"header with more behind":            w.issued(func(d *draft) { d.rawHeader = `{"alg":"RS256","kid":"rsa-1"}{}` }),
		"header is not UTF-8":                w.issued(func(d *draft) { d.rawHeader = "{\"alg\":\"RS256\",\"kid\":\"rsa-1\",\"x\":\"\xff\"}" }),
	})
}
