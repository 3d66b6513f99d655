package authn

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
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

	badKey = "the API key is not valid"
)

// ParseAPIKey splits the text of a key. Its errors are *Error, and do not quote the text.
func ParseAPIKey(text string) (id, secret string, err error) {
	parts := strings.SplitN(text, "_", 3)
	if len(parts) != 3 || parts[0] != keyPrefix || len(parts[1]) != keyIDLen || len(parts[2]) != keySecretLen {
		return "", "", invalid("%s: want %s_ID_SECRET", badKey, keyPrefix)
	}
	if strings.Trim(parts[1], "0123456789abcdefghijklmnopqrstuvwxyz") != "" {
		return "", "", invalid("%s: its id has other characters than lower-case letters and digits", badKey)
	}
	if _, err := base64.RawURLEncoding.DecodeString(parts[2]); err != nil {
		return "", "", invalid("%s: its secret is not base64url", badKey)
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

// identify returns whose key a text is. Its errors are *Error. They do not tell an
// unknown key from a wrong secret.
func (k *APIKeys) identify(text string) (policy.Identity, error) {
	id, secret, err := ParseAPIKey(text)
	if err != nil {
		return policy.Identity{}, err
	}
	// An unknown id is compared with the zero Key: it costs the same hash.
	key, known := k.byID[id]
	matched := matches(key, secret)
	switch {
	case !known || !matched:
		return policy.Identity{}, invalid(badKey)
	case !key.Expires.IsZero() && !k.now().Before(key.Expires):
		return policy.Identity{}, &Error{Kind: Expired, Text: "the API key has expired"}
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
