package authn

import (
	"errors"
	"strings"
	"testing"
	"time"

	"mcpgateway/policy"
)

func newKey(t *testing.T, name string, expires time.Time) (policy.Key, string) {
	t.Helper()
	key, text, err := NewAPIKey(name, []string{"files"}, nil, expires)
	if err != nil {
		t.Fatal(err)
	}
	return key, text
}

func TestNewAPIKeyIsParsed(t *testing.T) {
	t.Parallel()
	for range 200 { // some secrets hold underscores
		key, text := newKey(t, "ci", time.Time{})
		id, secret, err := ParseAPIKey(text)
		if err != nil {
			t.Fatalf("parse %q: %v", text, err)
		}
		if id != key.ID || !matches(key.Hash, secret) {
			t.Fatalf("got id %q, want %q with a matching secret", id, key.ID)
		}
	}
}

func TestParseAPIKeyRefuses(t *testing.T) {
	t.Parallel()
	secret := strings.Repeat("a", keySecretLen)
	for _, test := range []struct{ name, text string }{
		{"empty", ""},
		{"prefix", "other_0123456789ab_" + secret},
		{"no secret", "mcpgw_0123456789ab"},
		{"short id", "mcpgw_0123456789a_" + secret},
		{"upper-case id", "mcpgw_0123456789AB_" + secret},
		{"short secret", "mcpgw_0123456789ab_" + secret[1:]},
		{"long secret", "mcpgw_0123456789ab_a" + secret},
		{"no base64url", "mcpgw_0123456789ab_+" + secret[1:]},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := ParseAPIKey(test.text)
			if !errors.Is(err, &Error{Kind: Invalid}) {
				t.Errorf("got error %v, want that it is not valid", err)
			}
		})
	}
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	good, goodText := newKey(t, "good", now.Add(time.Second))
	expired, expiredText := newKey(t, "expired", now)
	_, unknownText := newKey(t, "unknown", time.Time{})
	other := "mcpgw_" + good.ID + "_" + unknownText[len(unknownText)-keySecretLen:]
	keys := NewAPIKeys([]policy.Key{good, expired})
	keys.now = func() time.Time { return now }
	got, err := keys.identify(goodText)
	if err != nil || got.Subject != "key:"+good.ID || got.Name != "good" || len(got.Servers) != 1 {
		t.Errorf("got identity %+v, %v", got, err)
	}
	tests := []struct {
		name string
		keys *APIKeys
		text string
		want Kind
	}{
		{"empty", keys, "", Invalid},
		{"wrong secret", keys, other, Invalid},
		{"unknown id", keys, unknownText, Invalid},
		{"expired", keys, expiredText, Expired},
		{"no keys", NewAPIKeys(nil), goodText, Invalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := test.keys.identify(test.text)
			if !errors.Is(err, &Error{Kind: test.want}) || got != nil {
				t.Fatalf("got identity %+v and error %v, want kind %d", got, err, test.want)
			}
		})
	}
}

// The zero Key stands for an unknown id: nobody may know a secret of it.
func TestZeroKeyMatchesNothing(t *testing.T) {
	t.Parallel()
	keys := NewAPIKeys([]policy.Key{{}})
	if got, err := keys.identify("mcpgw_000000000000_" + strings.Repeat("A", keySecretLen)); err == nil {
		t.Errorf("got identity %+v, want an error", got)
	}
}

func FuzzParseAPIKey(f *testing.F) {
	f.Add("mcpgw_0123456789ab_" + strings.Repeat("_", keySecretLen))
	f.Fuzz(func(t *testing.T, text string) {
		id, secret, err := ParseAPIKey(text)
		if err == nil && "mcpgw_"+id+"_"+secret != text {
			t.Errorf("got id %q secret %q of %q", id, secret, text)
		}
	})
}
