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
	prefix, rest, _ := strings.Cut(text, "_")
	id, secret, _ = strings.Cut(rest, "_")
	switch {
	case prefix != keyPrefix || len(id) != keyIDLen || len(secret) != keySecretLen:
		return "", "", invalid("%s: want %s_ID_SECRET", badKey, keyPrefix)
	case !isOf(id, isLowerOrDigit):
		return "", "", invalid("%s: its id has other characters than lower-case letters and digits", badKey)
	case !isOf(secret, isBase64URL):
		return "", "", invalid("%s: its secret is not base64url", badKey)
	}
	return id, secret, nil
}

func isOf(text string, allowed func(byte) bool) bool {
	for i := range len(text) {
		if !allowed(text[i]) {
			return false
		}
	}
	return true
}

func isLowerOrDigit(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

func isBase64URL(c byte) bool {
	return isLowerOrDigit(c) || c >= 'A' && c <= 'Z' || c == '-' || c == '_'
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
	byID map[string]apiKey
	now  func() time.Time
}

// apiKey is a key and whose it is.
type apiKey struct {
	hash   [sha256.Size]byte
	holder *policy.Identity
}

// NewAPIKeys returns the keys to check against. With none, everybody is refused.
func NewAPIKeys(keys []policy.Key) *APIKeys {
	byID := make(map[string]apiKey, len(keys))
	for _, key := range keys {
		byID[key.ID] = apiKey{key.Hash, &policy.Identity{
			Subject: "key:" + key.ID, Name: key.Name, Method: policy.MethodAPIKey,
			Servers: key.Servers, Projects: key.Projects, Key: key.Name, Expires: key.Expires,
		}}
	}
	return &APIKeys{byID: byID, now: time.Now}
}

// identify returns whose key a text is. Its errors are *Error. They do not tell an
// unknown key from a wrong secret.
func (k *APIKeys) identify(text string) (*policy.Identity, error) {
	id, secret, err := ParseAPIKey(text)
	if err != nil {
		return nil, err
	}
	// An unknown id is compared with the zero key: it costs the same hash.
	key, known := k.byID[id]
	matched := matches(key.hash, secret)
	if !known || !matched {
		return nil, invalid(badKey)
	}
	if expires := key.holder.Expires; !expires.IsZero() && !k.now().Before(expires) {
		return nil, &Error{Kind: Expired, Text: "the API key has expired"}
	}
	return key.holder, nil
}

// matches reports whether a secret is the one of a hash, in constant time.
func matches(hash [sha256.Size]byte, secret string) bool {
	var onStack [keySecretLen]byte
	sum := sha256.Sum256(append(onStack[:0], secret...))
	return subtle.ConstantTimeCompare(sum[:], hash[:]) == 1
}
