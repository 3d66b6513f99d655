package authn

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	fetchTimeout = 10 * time.Second // of all steps together
	maxFetched   = 1 << 20          // bytes of one document
	maxRedirects = 3
)

// fetcher fetches the keys of one issuer.
type fetcher struct {
	key    sourceKey
	client *http.Client
}

func newFetcher(key sourceKey) (*fetcher, error) {
	if err := fetchable(cmp.Or(key.jwks, key.issuer)); err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if key.ca != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(key.ca)) {
			return nil, errors.New("ca_file: there is no PEM certificate in it")
		}
	}
	transport := &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10,
		DisableKeepAlives: true, // it is asked again in minutes
		DialContext:       (&net.Dialer{Timeout: fetchTimeout}).DialContext,
	}
	return &fetcher{key, &http.Client{Transport: transport, CheckRedirect: sameHost}}, nil
}

// fetchable refuses addresses that others on the way could answer for.
func fetchable(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil, u.Host == "", u.User != nil, u.Fragment != "":
		return fmt.Errorf("%.200q is not an address such as https://auth.example.com", address)
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%.200q is not https: whoever is on the way could let anybody in", address)
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// sameHost lets an issuer send a fetch elsewhere on its own host only.
func sameHost(next *http.Request, before []*http.Request) error {
	first := before[0].URL
	if len(before) > maxRedirects || next.URL.Scheme != first.Scheme || next.URL.Host != first.Host {
		return errors.New("it redirects to another host, or too often")
	}
	return nil
}

func (f *fetcher) fetch(ctx context.Context) (*keySet, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	address := f.key.jwks
	if address == "" {
		var err error
		if address, err = f.discover(ctx); err != nil {
			return nil, fmt.Errorf("find the keys of %q: %w", f.key.issuer, err)
		}
	}
	document, err := f.get(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("fetch the keys of %q: %w", f.key.issuer, err)
	}
	set, err := parseJWKS(document)
	if err != nil {
		return nil, fmt.Errorf("fetch the keys of %q from %s: %w", f.key.issuer, address, err)
	}
	return set, nil
}

// discover finds where the issuer publishes its keys. The metadata must be of that
// very issuer (RFC 8414, section 3.3).
func (f *fetcher) discover(ctx context.Context) (string, error) {
	var problems []error
	for _, address := range wellKnown(f.key.issuer) {
		document, err := f.get(ctx, address)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		found, err := f.keysAddress(document)
		if err == nil {
			return found, nil
		}
		problems = append(problems, fmt.Errorf("%s: %w", address, err))
	}
	return "", errors.Join(problems...)
}

// keysAddress reads an issuer's metadata.
func (f *fetcher) keysAddress(document []byte) (string, error) {
	var metadata struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(document, &metadata); err != nil {
		return "", errors.New("it is not a JSON object with each member once")
	}
	if metadata.Issuer != f.key.issuer {
		return "", fmt.Errorf("it is of the issuer %.200q", metadata.Issuer)
	}
	return metadata.JWKS, fetchable(metadata.JWKS)
}

// wellKnown gives where an issuer's metadata may be: OpenID Connect Discovery 1.0,
// section 4, and the two forms of RFC 8414, sections 3 and 5.
func wellKnown(issuer string) []string {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	origin := u.Scheme + "://" + u.Host
	all := []string{origin + path + "/.well-known/openid-configuration", origin + "/.well-known/oauth-authorization-server" + path}
	if path != "" {
		all = append(all, origin+"/.well-known/openid-configuration"+path)
	}
	return all
}

func (f *fetcher) get(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "mcp-gateway")
	response, err := f.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %d", address, response.StatusCode)
	}
	document, err := io.ReadAll(io.LimitReader(response.Body, maxFetched+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", address, err)
	case len(document) > maxFetched:
		return nil, fmt.Errorf("%s answers with more than %d bytes", address, maxFetched)
	}
	return document, nil
}
