package authn

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// jwk is a public key as issuers publish it (RFC 7517; RFC 7518, section 6; RFC 8037).
type jwk struct {
	Type       string   `json:"kty"`
	Use        string   `json:"use"`
	Operations []string `json:"key_ops"`
	Algorithm  string   `json:"alg"`
	ID         string   `json:"kid"`
	Curve      string   `json:"crv"`
	X          string   `json:"x"`
	Y          string   `json:"y"`
	N          string   `json:"n"`
	E          string   `json:"e"`
}

// keySet is what an issuer publishes. It is immutable.
type keySet struct {
	keys    []*verifyKey
	digests map[[sha256.Size]byte]bool
}

// parseJWKS reads a set of keys. Those that are for something else, or can't be used,
// are passed over, as RFC 7517, section 5, wants; without any other it is an error,
// which says what is wrong with the last.
func parseJWKS(document []byte) (*keySet, error) {
	var published struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(document, &published); err != nil {
		return nil, errors.New("the keys are not a JSON object with each member once and a list of keys")
	}
	if len(published.Keys) > maxKeys {
		return nil, fmt.Errorf("there are %d keys, at most %d are allowed", len(published.Keys), maxKeys)
	}
	set, why := &keySet{digests: make(map[[sha256.Size]byte]bool)}, errors.New("there is none")
	for _, one := range published.Keys {
		key, err := parseJWK(one)
		if err != nil {
			why = err
			continue
		}
		set.keys = append(set.keys, key)
		set.digests[key.digest] = true
	}
	if len(set.keys) == 0 {
		return nil, fmt.Errorf("no key can be used: %w", why)
	}
	return set, nil
}

func parseJWK(document []byte) (*verifyKey, error) {
	var k jwk
	if err := json.Unmarshal(document, &k); err != nil {
		return nil, errors.New("a key is not a JSON object")
	}
	switch {
	case k.Use != "" && k.Use != "sig", k.Operations != nil && !slices.Contains(k.Operations, "verify"):
		return nil, errors.New("a key is not for signatures")
	case len(k.ID) > maxKeyID:
		return nil, errors.New("a key's id is too long")
	}
	public, err := k.public()
	if err != nil {
		return nil, err
	}
	key, err := newPublicKey(public)
	if err != nil {
		return nil, err
	}
	key.id, key.algorithm = k.ID, k.Algorithm
	// Another id, or another algorithm, makes another key: what it verified before has
	// to be verified again.
	key.digest = sha256.Sum256(fmt.Appendf(key.digest[:], "%s\x00%s", k.Algorithm, k.ID))
	return key, nil
}

// public makes the key. There is no other place for a symmetric one than jwt_key.
func (k *jwk) public() (any, error) {
	switch k.Type {
	case "RSA":
		return k.rsa()
	case "EC":
		return k.ec()
	case "OKP":
		x, err := decode(k.X)
		if k.Curve != "Ed25519" || err != nil || len(x) != ed25519.PublicKeySize {
			return nil, errors.New("an OKP key is not of Ed25519")
		}
		return ed25519.PublicKey(x), nil
	}
	return nil, fmt.Errorf("a key is of the type %.20q, want RSA, EC or OKP", k.Type)
}

func (k *jwk) rsa() (any, error) {
	n, err := base64.RawURLEncoding.DecodeString(k.N)
	e, wrong := base64.RawURLEncoding.DecodeString(k.E)
	exponent := new(big.Int).SetBytes(e)
	if err != nil || wrong != nil || exponent.BitLen() > 31 || exponent.Int64() < 3 || exponent.Bit(0) == 0 {
		return nil, errors.New("an RSA key has no modulus or no exponent that can be used")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}, nil
}

func (k *jwk) ec() (any, error) {
	curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[k.Curve]
	x, err := decode(k.X)
	y, wrong := decode(k.Y)
	if curve == nil || err != nil || wrong != nil {
		return nil, errors.New("an EC key is not on P-256, P-384 or P-521")
	}
	size := (curve.Params().BitSize + 7) / 8
	if len(x) != size || len(y) != size {
		return nil, errors.New("an EC key's coordinates have another length than its curve")
	}
	point := slices.Concat([]byte{4}, x, y)               // uncompressed (SEC 1, section 2.3.3)
	return ecdsa.ParseUncompressedPublicKey(curve, point) // refuses points beside the curve
}

// candidates are the keys that a token of an algorithm may be signed with. A token
// that names no key may be signed with the only one that there is.
func (s *keySet) candidates(algorithm, id string) (found []*verifyKey) {
	for _, key := range s.keys {
		if key.fits(algorithm) && (id == "" || key.id == id) {
			found = append(found, key)
		}
	}
	if id == "" && len(found) > 1 {
		return nil
	}
	return found
}
