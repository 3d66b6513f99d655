package authn

import (
	"bytes"
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxToken is the longest token in bytes.
	maxToken = 16 << 10
	maxKeyID = 256
)

// jws is a signed token (RFC 7515, section 7.1) taken apart. Nothing in it is to be
// believed before its signature was verified.
type jws struct {
	signed    string // what the signature is of
	signature []byte
	header    header
	claims    map[string]any
}

// header has those members of a token's header that play a part. Where a token says
// that its key is (jwk, jku, x5c, x5u) plays none.
type header struct {
	Algorithm string         `json:"alg"`
	KeyID     string         `json:"kid"`
	Type      string         `json:"typ"`
	Content   string         `json:"cty"`
	Critical  jsontext.Value `json:"crit"`
	Base64    jsontext.Value `json:"b64"`
}

// parseJWS takes a token apart. It takes nothing that another reader could read in
// another way: no member twice, no other base64url than the one that its bytes have.
func parseJWS(text string) (*jws, error) {
	if len(text) > maxToken {
		return nil, errors.New("the token is longer than 16 KiB")
	}
	parts := strings.Split(text, ".")
	if len(parts) == 5 {
		return nil, errors.New("the token is encrypted: only signed ones are taken")
	}
	if len(parts) != 3 {
		return nil, errors.New("the bearer credential is no token: it has not three parts")
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = decode(part); err != nil {
			return nil, err
		}
	}
	t := &jws{signed: text[:len(parts[0])+1+len(parts[1])], signature: decoded[2]}
	if err := parseHeader(decoded[0], &t.header); err != nil {
		return nil, err
	}
	var err error
	t.claims, err = parseClaims(decoded[1])
	return t, err
}

// decode reads base64url without padding. The library passes over line ends.
func decode(part string) ([]byte, error) {
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil || strings.ContainsAny(part, "\r\n") {
		return nil, errors.New("a part of the token is not base64url")
	}
	return decoded, nil
}

func parseHeader(document []byte, h *header) error {
	// It refuses members that are there twice, other cases and bad UTF-8.
	if !isObject(document) || json.Unmarshal(document, h) != nil {
		return errors.New("the token's header is not a JSON object with each member once")
	}
	switch {
	case h.Critical != nil:
		return errors.New("the token has extensions (crit): none is understood")
	case h.Base64 != nil && string(h.Base64) != "true":
		return errors.New("the token's payload is not encoded (b64)")
	case len(h.KeyID) > maxKeyID:
		return errors.New("the token's key id is too long")
	case h.Content != "":
		return errors.New("the token holds another (cty)")
	}
	switch strings.ToLower(strings.TrimPrefix(strings.ToLower(h.Type), "application/")) {
	case "", "jwt", "at+jwt":
		return nil
	}
	return errors.New("the token is of another type than JWT and at+jwt")
}

// isAccessToken reports whether a header says so (RFC 9068).
func (h *header) isAccessToken() bool { return strings.HasSuffix(strings.ToLower(h.Type), "at+jwt") }

func parseClaims(document []byte) (claims map[string]any, err error) {
	if !isObject(document) || !jsontext.Value(document).IsValid() {
		return nil, errors.New("the token's payload is not a JSON object with each member once")
	}
	decoder := stdjson.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	if err := decoder.Decode(&claims); err != nil {
		return nil, errors.New("the token's payload can't be read")
	}
	return claims, nil
}

func isObject(document []byte) bool { return jsontext.Value(document).Kind() == '{' }
