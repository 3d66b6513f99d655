package authn

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

const (
	minSecret  = 32 // bytes of an HMAC secret
	minRSABits = 2048
	maxRSABits = 8192
	maxKeys    = 64
)

// verifyKey verifies signatures of its own kind only: what is public never verifies
// as a secret would, whatever a token says its algorithm is.
type verifyKey struct {
	material  any // []byte (a secret), *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
	id        string
	algorithm string // the only one that it is for; "": all that fit
	digest    [sha256.Size]byte
}

// methodOf gives what verifies signatures of an algorithm, nil for others. There is
// no "none".
func methodOf(algorithm string) jwt.SigningMethod {
	methods := [...]jwt.SigningMethod{
		jwt.SigningMethodHS256, jwt.SigningMethodHS384, jwt.SigningMethodHS512,
		jwt.SigningMethodRS256, jwt.SigningMethodRS384, jwt.SigningMethodRS512,
		jwt.SigningMethodPS256, jwt.SigningMethodPS384, jwt.SigningMethodPS512,
		jwt.SigningMethodES256, jwt.SigningMethodES384, jwt.SigningMethodES512,
		jwt.SigningMethodEdDSA,
	}
	for _, method := range methods {
		if method.Alg() == algorithm {
			return method
		}
	}
	return nil
}

// fits reports whether the key is for signatures of an algorithm.
func (k *verifyKey) fits(algorithm string) bool {
	if k.algorithm != "" && k.algorithm != algorithm {
		return false
	}
	switch material := k.material.(type) {
	case []byte:
		return slices.Contains([]string{"HS256", "HS384", "HS512"}, algorithm)
	case *rsa.PublicKey:
		return slices.Contains([]string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, algorithm)
	case *ecdsa.PublicKey:
		return algorithm == map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[material.Curve.Params().BitSize]
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}

// newPublicKey refuses keys that are too weak, or so large that verifying with them
// is an attack.
func newPublicKey(public any) (*verifyKey, error) {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("an RSA key has %d bits, want %d to %d", bits, minRSABits, maxRSABits)
		}
	case *ecdsa.PublicKey:
		if bits := key.Curve.Params().BitSize; bits < 256 {
			return nil, fmt.Errorf("a key's curve has %d bits, want 256 or more", bits)
		}
	case ed25519.PublicKey:
	default:
		return nil, fmt.Errorf("a key is neither RSA nor EC nor Ed25519")
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("a key can't be used: %w", err)
	}
	return &verifyKey{material: public, digest: sha256.Sum256(der)}, nil
}

// IsSecret reports whether what a configuration has as jwt_key is an HMAC secret.
func IsSecret(document []byte) bool { return !strings.Contains(string(document), "-----BEGIN ") }

// parseKeys reads what a configuration has as jwt_key. Its errors do not quote it.
func parseKeys(document []byte) ([]*verifyKey, error) {
	if !IsSecret(document) {
		return parsePEM(document)
	}
	text := string(document)
	for _, public := range []string{"ssh-", "ecdsa-", "{"} { // whoever has it could sign with it
		if strings.HasPrefix(strings.TrimSpace(text), public) {
			return nil, errors.New("it looks like a public key, but is not PEM: write it as PEM (-----BEGIN PUBLIC KEY-----)")
		}
	}
	if len(document) < minSecret {
		return nil, fmt.Errorf("it is a secret of %d bytes, want at least %d: make one with openssl rand -base64 48", len(document), minSecret)
	}
	return []*verifyKey{{material: document}}, nil
}

func parsePEM(document []byte) (keys []*verifyKey, err error) {
	for {
		var block *pem.Block
		if block, document = pem.Decode(document); block == nil {
			break
		}
		var public any
		switch block.Type {
		case "PUBLIC KEY":
			public, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "RSA PUBLIC KEY":
			public, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case "CERTIFICATE":
			var certificate *x509.Certificate
			if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
				public = certificate.PublicKey
			}
		default:
			err = fmt.Errorf("it holds a %.50q: only public keys and certificates verify tokens", block.Type)
		}
		if err != nil {
			return nil, err
		}
		key, err := newPublicKey(public)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	switch {
	case len(keys) == 0:
		return nil, errors.New("it has no PEM that can be read")
	case len(keys) > maxKeys:
		return nil, fmt.Errorf("it has %d keys, at most %d are allowed", len(keys), maxKeys)
	}
	return keys, nil
}
