package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	// maxAnswer is the longest answer in bytes.
	maxAnswer = 1 << 20
	// logoutWait is how long it takes at most to give a token back.
	logoutWait = 2 * time.Second
)

// server is a Vault or an OpenBao.
type server struct {
	address   *url.URL
	namespace string
	token     string
	secrets   []string // that no error may show
	client    *http.Client
}

func newServer(variable func(string) string) (*server, error) {
	address, err := url.Parse(strings.TrimSuffix(variable("ADDR"), "/"))
	switch {
	case err != nil || address.Host == "" || address.User != nil || address.RawQuery != "":
		return nil, errors.New("VAULT_ADDR must be an address such as https://vault.example:8200")
	case address.Scheme == "http" && !loopback(address.Hostname()):
		return nil, errors.New("VAULT_ADDR must begin with https: http is for this host's loopback only")
	case address.Scheme != "http" && address.Scheme != "https":
		return nil, errors.New("VAULT_ADDR must begin with https")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := variable("CACERT"); file != "" {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read VAULT_CACERT: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(content) {
			return nil, fmt.Errorf("VAULT_CACERT: %s holds no certificate", file)
		}
	}
	return &server{
		address: address, namespace: variable("NAMESPACE"),
		client: &http.Client{
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, DisableKeepAlives: true},
			CheckRedirect: func(next *http.Request, before []*http.Request) error {
				if next.URL.Host != address.Host || next.URL.Scheme != address.Scheme || len(before) > 3 {
					return fmt.Errorf("it sends elsewhere, to %s: name that in VAULT_ADDR", next.URL.Host) // the token is not for others
				}
				return nil
			},
		},
	}, nil
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// login gets a token if none is given (AppRole, login). logout gives one back that
// was got here.
func (s *server) login(ctx context.Context, variable func(string) string) (logout func(), err error) {
	role, secret := variable("ROLE_ID"), variable("SECRET_ID")
	s.token = variable("TOKEN")
	s.secrets = []string{s.token, role, secret}
	if s.token != "" {
		return func() {}, nil
	}
	if role == "" {
		return nil, errors.New("who asks? set VAULT_TOKEN, or VAULT_ROLE_ID and VAULT_SECRET_ID")
	}
	mount := strings.Trim(variable("APPROLE_MOUNT"), "/")
	if mount == "" {
		mount = "approle"
	}
	body := map[string]string{"role_id": role}
	if secret != "" {
		body["secret_id"] = secret
	}
	var answer struct {
		Auth struct {
			ClientToken string `json:"client_token"`
		} `json:"auth"`
	}
	err = s.ask(ctx, http.MethodPost, "auth/"+escape(mount)+"/login", body, &answer)
	if err == nil && answer.Auth.ClientToken == "" {
		err = errors.New("the answer has no token")
	}
	if err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	s.token = answer.Auth.ClientToken
	s.secrets = append(s.secrets, s.token)
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logoutWait)
		defer cancel()
		_ = s.ask(ctx, http.MethodPost, "auth/token/revoke-self", nil, nil) // it ends by itself, too
	}, nil
}

// read reads the newest version of a secret (KV version 2).
func (s *server) read(ctx context.Context, at place) (string, error) {
	var answer struct {
		Data struct {
			Data map[string]any `json:"data"`
		} `json:"data"`
	}
	if err := s.ask(ctx, http.MethodGet, at.url(), nil, &answer); err != nil {
		return "", fmt.Errorf("read %s: %w", at, err)
	}
	if answer.Data.Data == nil {
		return "", fmt.Errorf("read %s: its newest version was deleted, or its engine is not KV version 2", at)
	}
	return at.pick(answer.Data.Data)
}

// ask makes one request and reads its answer into result, if there is to be one.
func (s *server) ask(ctx context.Context, method, path string, body, result any) error {
	content, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if body == nil {
		content = nil
	}
	request, err := http.NewRequestWithContext(ctx, method, s.address.String()+"/v1/"+path, bytes.NewReader(content))
	if err != nil {
		return errors.New("VAULT_ADDR or the path can't be made an address")
	}
	request.Header.Set("X-Vault-Request", "true")
	if s.token != "" {
		request.Header.Set("X-Vault-Token", s.token)
	}
	if s.namespace != "" {
		request.Header.Set("X-Vault-Namespace", s.namespace)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return s.hide(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return s.hide(err)
	case len(answer) > maxAnswer:
		return fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	case response.StatusCode == http.StatusNoContent || response.StatusCode == http.StatusOK && result == nil:
		return nil
	case response.StatusCode != http.StatusOK:
		return s.refusal(response.StatusCode, answer)
	}
	if err := json.Unmarshal(answer, result); err != nil {
		return errors.New("the answer is not what Vault's API promises") // not the error: it quotes the answer
	}
	return nil
}

// refusal explains a status. Of the answer it tells the errors that the API has for it.
func (s *server) refusal(status int, answer []byte) error {
	var told struct {
		Errors []string `json:"errors"`
		Data   struct {
			Metadata struct {
				DeletionTime string `json:"deletion_time"`
				Destroyed    bool   `json:"destroyed"`
			} `json:"metadata"`
		} `json:"data"`
	}
	_ = json.Unmarshal(answer, &told) // without it there is still the status
	switch {
	case told.Data.Metadata.Destroyed:
		return errors.New("its newest version was destroyed")
	case told.Data.Metadata.DeletionTime != "":
		return errors.New("its newest version was deleted")
	}
	text := fmt.Sprintf("status %d", status)
	switch status {
	case http.StatusNotFound:
		text += ": there is no such secret, or no KV engine of version 2 at that place"
	case http.StatusForbidden:
		text += ": the token or its policy does not allow it, or there is no such engine"
	case http.StatusServiceUnavailable:
		text += ": it is sealed or in maintenance"
	}
	if len(told.Errors) > 0 {
		text += fmt.Sprintf(": %.300q", told.Errors)
	}
	return s.hide(errors.New(text))
}

// hide takes what was sent to prove who asks out of an error.
func (s *server) hide(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New("it does not answer")
	}
	text := err.Error()
	for _, secret := range s.secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[hidden]")
		}
	}
	return errors.New(text)
}
