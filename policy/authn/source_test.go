package authn

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// provider publishes what a test says.
type provider struct {
	*httptest.Server
	fetches atomic.Int64

	mu     sync.Mutex
	answer func(out http.ResponseWriter, r *http.Request)
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := new(provider)
	p.Server = httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		p.fetches.Add(1)
		p.mu.Lock()
		answer := p.answer
		p.mu.Unlock()
		answer(out, r)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) says(answer func(out http.ResponseWriter, r *http.Request)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

// publishes makes it answer with an Ed25519 key of an id.
func (p *provider) publishes(id string) {
	public, _, _ := ed25519.GenerateKey(rand.Reader)
	text := fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}]}`, id, base64.RawURLEncoding.EncodeToString(public))
	p.says(func(out http.ResponseWriter, _ *http.Request) { fmt.Fprint(out, text) })
}

func (p *provider) fails() {
	p.says(func(out http.ResponseWriter, _ *http.Request) { http.Error(out, "down", http.StatusBadGateway) })
}

func newTestSource(t *testing.T, p *provider) (*keySource, *clock) {
	t.Helper()
	clock, state := newClock(), NewState()
	state.now = clock.Now
	t.Cleanup(state.Close)
	source, err := state.source(sourceKey{issuer: p.URL, jwks: p.URL + "/keys"})
	if err != nil {
		t.Fatal(err)
	}
	return source, clock
}

func hasKey(set *keySet, id string) bool { return set != nil && len(set.candidates("EdDSA", id)) == 1 }

func (s *keySource) settle() {
	s.mu.Lock()
	pending := s.pending
	s.mu.Unlock()
	if pending != nil {
		<-pending
	}
}

func TestKeysAreFetchedWhenItIsTime(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	source, clock := newTestSource(t, p)
	expect := func(name, id string, fetches int64) {
		t.Helper()
		set, err := source.current(t.Context())
		if err != nil || !hasKey(set, id) {
			t.Errorf("%s: got %v without the key %q", name, err, id)
		}
		source.settle()
		if got := p.fetches.Load(); got != fetches {
			t.Errorf("%s: got %d fetches, want %d", name, got, fetches)
		}
	}
	p.publishes("a")
	expect("first", "a", 1)
	clock.advance(keysFresh - 1)
	expect("fresh", "a", 1)
	p.publishes("b")
	clock.advance(2)
	expect("stale: the old ones at once, new ones behind", "a", 2)
	expect("renewed", "b", 2)
	clock.advance(keysUsable + 1)
	p.publishes("c")
	expect("old: waits", "c", 3)
}

func TestUnknownKeysAreLookedForRarely(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	source, clock := newTestSource(t, p)
	p.publishes("a")
	if _, err := source.current(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.publishes("b")
	for range 100 {
		if set, err := source.refetch(t.Context()); err != nil || hasKey(set, "b") {
			t.Fatalf("got %v, want no other keys so soon", err)
		}
	}
	clock.advance(refetchRest)
	var asking sync.WaitGroup
	for range 20 {
		asking.Go(func() {
			if set, err := source.refetch(t.Context()); err != nil || !hasKey(set, "b") {
				t.Errorf("got %v, want the new key", err)
			}
		})
	}
	asking.Wait()
	if got := p.fetches.Load(); got != 2 {
		t.Errorf("got %d fetches, want 2", got)
	}
}

func TestProviderThatIsDown(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	source, clock := newTestSource(t, p)
	p.fails()
	_, err := source.current(t.Context())
	if e := as(err); e.Kind != Unavailable || e.RetryAfter <= 0 {
		t.Fatalf("got %v, want Unavailable", err)
	}
	for range 100 { // nothing is asked again at once
		_, _ = source.current(t.Context())
		_, _ = source.refetch(t.Context())
	}
	if got := p.fetches.Load(); got != 1 {
		t.Errorf("got %d fetches while it rests, want 1", got)
	}
	for range 40 {
		clock.advance(maxBackoff)
		_, _ = source.current(t.Context())
	}
	if wait := source.next.Sub(clock.Now()); wait < maxBackoff/2 || wait > maxBackoff {
		t.Errorf("got a wait of %s, want half of %s to all of it", wait, maxBackoff)
	}
	if err := source.problem(); err == nil || !strings.Contains(err.Error(), "502") {
		t.Errorf("got the reason %v, want the status", err)
	}

	p.publishes("a")
	clock.advance(maxBackoff)
	if set, err := source.current(t.Context()); err != nil || !hasKey(set, "a") {
		t.Fatalf("back: got %v", err)
	}
	p.fails()
	clock.advance(keysUsable + 1)
	if set, err := source.current(t.Context()); err != nil || !hasKey(set, "a") {
		t.Errorf("down again: got %v, want the old keys", err)
	}
	clock.advance(keysLast)
	if _, err := source.current(t.Context()); as(err).Kind != Unavailable {
		t.Errorf("down for long: got %v, want Unavailable", err)
	}
}

func TestWaitingForKeysEnds(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	source, _ := newTestSource(t, p)
	hold := make(chan struct{})
	p.says(func(http.ResponseWriter, *http.Request) { <-hold })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := source.current(ctx); !errors.Is(err, &Error{Kind: Unavailable}) {
		t.Errorf("got %v, want Unavailable", err)
	}
	source.state.cancel()
	source.state.Close() // returns, though the provider has not answered
	close(hold)
	if _, err := source.current(t.Context()); !errors.Is(err, &Error{Kind: Unavailable}) {
		t.Errorf("closed: got %v, want Unavailable", err)
	}
}

func TestFormerIssuersAreForgotten(t *testing.T) {
	t.Parallel()
	state := NewState()
	defer state.Close()
	for i := range 3 * maxSourcesOfKeys {
		if _, err := state.source(sourceKey{issuer: fmt.Sprintf("https://%d.example", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(state.sources); got != maxSourcesOfKeys {
		t.Errorf("got %d, want %d", got, maxSourcesOfKeys)
	}
}

func TestFetch(t *testing.T) {
	t.Parallel()
	const keys = `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`
	other := newProvider(t)
	other.says(func(out http.ResponseWriter, _ *http.Request) { fmt.Fprint(out, keys) })
	for _, tt := range []struct {
		name, path string            // of the issuer
		files      map[string]string // URL stands for the provider, OTHER for another
		want       string            // in the error
	}{
		{"OpenID Connect", "", map[string]string{"/.well-known/openid-configuration": `{"issuer":"URL","jwks_uri":"URL/k"}`, "/k": keys}, ""},
		{"with a path", "/t", map[string]string{"/t/.well-known/openid-configuration": `{"issuer":"URL/t","jwks_uri":"URL/k"}`, "/k": keys}, ""},
		{"OAuth", "/t", map[string]string{"/.well-known/oauth-authorization-server/t": `{"issuer":"URL/t","jwks_uri":"URL/k"}`, "/k": keys}, ""},
		{"OpenID Connect, path behind", "/t", map[string]string{"/.well-known/openid-configuration/t": `{"issuer":"URL/t","jwks_uri":"URL/k"}`, "/k": keys}, ""},
		{"nothing", "", nil, "answers 404"},
		{"of another issuer", "", map[string]string{"/.well-known/openid-configuration": `{"issuer":"https://evil.example","jwks_uri":"URL/k"}`, "/k": keys}, `is of the issuer "https://evil.example"`},
		{"with a slash", "", map[string]string{"/.well-known/openid-configuration": `{"issuer":"URL/","jwks_uri":"URL/k"}`, "/k": keys}, "is of the issuer"},
		{"keys in plain text elsewhere", "", map[string]string{"/.well-known/openid-configuration": `{"issuer":"URL","jwks_uri":"http://169.254.169.254/k"}`}, "is not https"},
		{"keys in a file", "", map[string]string{"/.well-known/openid-configuration": `{"issuer":"URL","jwks_uri":"file:///etc/passwd"}`}, "not an address"},
		{"no jwks_uri", "", map[string]string{"/.well-known/openid-configuration": `{"issuer":"URL"}`}, "not an address"},
		{"issuer twice", "", map[string]string{"/.well-known/openid-configuration": `{"issuer":"x","issuer":"URL","jwks_uri":"URL/k"}`, "/k": keys}, "each member once"},
		{"redirect on the host", "", map[string]string{"/.well-known/openid-configuration": "> URL/c", "/c": `{"issuer":"URL","jwks_uri":"URL/k"}`, "/k": keys}, ""},
		{"redirect elsewhere", "", map[string]string{"/.well-known/openid-configuration": `{"issuer":"URL","jwks_uri":"URL/k"}`, "/k": "> OTHER/k"}, "redirects to another host"},
		{"redirect without end", "", map[string]string{"/.well-known/openid-configuration": "> URL/.well-known/openid-configuration"}, "or too often"},
		{"huge", "", map[string]string{"/.well-known/openid-configuration": `{"issuer":"URL","jwks_uri":"URL/k"}`, "/k": strings.Repeat(" ", maxFetched) + keys}, "more than 1048576 bytes"},
		{"many keys", "", map[string]string{"/.well-known/openid-configuration": `{"issuer":"URL","jwks_uri":"URL/k"}`, "/k": `{"keys":[` + strings.Repeat("{},", maxKeys) + `{}]}`}, "65 keys, at most 64"},
		{"only secrets", "", map[string]string{"/.well-known/openid-configuration": `{"issuer":"URL","jwks_uri":"URL/k"}`, "/k": `{"keys":[{"kty":"oct","k":"AAAA"}]}`}, "no key can be used"},
		{"no keys", "", map[string]string{"/.well-known/openid-configuration": `{"issuer":"URL","jwks_uri":"URL/k"}`, "/k": `{"keys":[]}`}, "there is none"},
		{"an HTML page", "", map[string]string{"/.well-known/openid-configuration": `<html>`}, "each member once"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t)
			p.says(func(out http.ResponseWriter, r *http.Request) {
				text, ok := tt.files[r.URL.Path]
				text = strings.NewReplacer("URL", p.URL, "OTHER", other.URL).Replace(text)
				target, isRedirect := strings.CutPrefix(text, "> ")
				switch {
				case !ok:
					http.NotFound(out, r)
				case isRedirect:
					http.Redirect(out, r, target, http.StatusFound)
				default:
					fmt.Fprint(out, text)
				}
			})
			f, err := newFetcher(sourceKey{issuer: p.URL + tt.path})
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.fetch(t.Context())
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
		})
	}
	if got := other.fetches.Load(); got != 0 {
		t.Errorf("the other host was asked %d times", got)
	}
}

// A provider whose certificate is of no authority is not believed.
func TestFetchVerifiesTheProvider(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	f, err := newFetcher(sourceKey{issuer: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got error %v, want one of its certificate", err)
	}
	for _, address := range []string{"http://auth.example.com", "ftp://127.0.0.1", "https://u:p@a.example", "auth.example.com", "http://localhost.example", "https://a.example#x", ""} {
		if _, err := newFetcher(sourceKey{issuer: address}); err == nil {
			t.Errorf("%q: got no error", address)
		}
	}
}

func TestBackoffIsBounded(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	source, clock := newTestSource(t, p)
	for range 200 {
		source.mu.Lock()
		source.noteLocked(nil, errors.New("down"))
		wait := source.next.Sub(clock.Now())
		source.mu.Unlock()
		if wait <= 0 || wait > maxBackoff {
			t.Fatalf("got a wait of %s", wait)
		}
	}
}
