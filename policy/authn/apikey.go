package authn

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"mcpgateway/policy"
)

// An API key reads mcpgw_ID_SECRET: 12 characters of lower-case hex and 43 of
// base64url (RFC 4648, section 5), the latter 32 random bytes. The secret may
// hold underscores.
const (
	keyPrefix    = "mcpgw"
	keyIDLen     = 12
	keySecretLen = 43
)

// What a request without a usable key is told. They do not tell an unknown key from
// a wrong secret.
var (
	ErrNoCredential  = errors.New("no API key: send it as \"Authorization: Bearer KEY\" or \"X-API-Key: KEY\"")
	ErrBadCredential = errors.New("the API key is not valid")
	ErrExpired       = errors.New("the API key has expired")
)

// ParseAPIKey splits the text of a key. Its error does not quote the text.
func ParseAPIKey(text string) (id, secret string, err error) {
	parts := strings.SplitN(text, "_", 3)
	if len(parts) != 3 || parts[0] != keyPrefix || len(parts[1]) != keyIDLen || len(parts[2]) != keySecretLen {
		return "", "", fmt.Errorf("%w: want %s_ID_SECRET", ErrBadCredential, keyPrefix)
	}
	if strings.Trim(parts[1], "0123456789abcdefghijklmnopqrstuvwxyz") != "" {
		return "", "", fmt.Errorf("%w: its id has other characters than lower-case letters and digits", ErrBadCredential)
	}
	if _, err := base64.RawURLEncoding.DecodeString(parts[2]); err != nil {
		return "", "", fmt.Errorf("%w: its secret is not base64url", ErrBadCredential)
	}
	return parts[1], parts[2], nil
}

// NewAPIKey makes a key: the part to be stored, and the text for its holder,
// which exists nowhere else. No servers means all, and so with projects; a zero
// expires means never.
func NewAPIKey(name string, servers, projects []string, expires time.Time) (policy.Key, string, error) {
	var random [keyIDLen/2 + 32]byte
	if _, err := rand.Read(random[:]); err != nil {
		return policy.Key{}, "", fmt.Errorf("make API key: %w", err)
	}
	id := hex.EncodeToString(random[:keyIDLen/2])
	secret := base64.RawURLEncoding.EncodeToString(random[keyIDLen/2:])
	key := policy.Key{
		ID:       id,
		Name:     name,
		Hash:     sha256.Sum256([]byte(secret)),
		Servers:  servers,
		Projects: projects,
		Created:  time.Now().UTC().Truncate(time.Second),
		Expires:  expires,
	}
	return key, keyPrefix + "_" + id + "_" + secret, nil
}

// APIKeys are the keys of one policy generation. It is immutable.
type APIKeys struct {
	byID map[string]policy.Key
	now  func() time.Time
}

// NewAPIKeys returns the keys to check against. With none, everybody is refused.
func NewAPIKeys(keys []policy.Key) *APIKeys {
	byID := make(map[string]policy.Key, len(keys))
	for _, key := range keys {
		byID[key.ID] = key
	}
	return &APIKeys{byID: byID, now: time.Now}
}

// Authenticate returns the identity of the key in a request's headers. Its
// errors are ErrNoCredential, ErrBadCredential and ErrExpired, perhaps wrapped;
// none quotes the credential.
func (k *APIKeys) Authenticate(header http.Header) (policy.Identity, error) {
	sent, err := credentialOf(header)
	switch {
	case err != nil:
		return policy.Identity{}, fmt.Errorf("%w: %w", ErrBadCredential, err)
	case sent.kind == noCredential:
		return policy.Identity{}, ErrNoCredential
	}
	return k.find(sent.text)
}

// identify returns whose key a text is. Its errors are *Error.
func (k *APIKeys) identify(text string) (policy.Identity, error) {
	identity, err := k.find(text)
	switch {
	case errors.Is(err, ErrExpired):
		return identity, &Error{Kind: Expired, Text: err.Error()}
	case err != nil:
		return identity, invalid("%v", err)
	}
	return identity, nil
}

func (k *APIKeys) find(text string) (policy.Identity, error) {
	id, secret, err := ParseAPIKey(text)
	if err != nil {
		return policy.Identity{}, err
	}
	// An unknown id is compared with the zero Key: it costs the same hash.
	key, known := k.byID[id]
	matched := matches(key, secret)
	switch {
	case !known || !matched:
		return policy.Identity{}, ErrBadCredential
	case !key.Expires.IsZero() && !k.now().Before(key.Expires):
		return policy.Identity{}, ErrExpired
	}
	return policy.Identity{
		Subject: "key:" + id, Name: key.Name, Method: policy.MethodAPIKey,
		Servers: key.Servers, Projects: key.Projects, Key: key.Name, Expires: key.Expires,
	}, nil
}

// matches reports whether secret is the key's secret, in constant time.
func matches(key policy.Key, secret string) bool {
	sum := sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(sum[:], key.Hash[:]) == 1
}
