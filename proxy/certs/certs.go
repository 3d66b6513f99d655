// Package certs is how a listener proves itself, and whom it lets connect, by
// the policy in force at each connection. It reads no file: certificates come as
// parts of a policy, and a policy with bad ones is refused before it is in force.
//
// Runs in: proxy.
package certs

import (
	"crypto/tls"
	"fmt"
	"time"

	"mcpgateway/policy"
	"mcpgateway/policy/trust"
)

// Check says what is wrong with the certificates of a listener, nil for nothing.
// One that has run out is not refused: that would keep a policy that takes a key
// away from coming into force.
func Check(t *policy.TLS) error {
	if t == nil {
		return nil
	}
	_, err := build(t, nil)
	return err
}

// build makes the configuration of one policy.
func build(t *policy.TLS, protocols []string) (*tls.Config, error) {
	own, err := tls.X509KeyPair(t.Certificate, t.Key)
	if err != nil { // crypto/tls quotes neither of them
		return nil, fmt.Errorf("certificate and key: %w", err)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{own},
		MinVersion:   tls.VersionTLS12,
		CipherSuites: suites(), // of TLS 1.2
		NextProtos:   protocols,
		// A ticket would let a client in by what a former policy said of it.
		SessionTicketsDisabled: true,
	}
	if len(t.ClientCA) == 0 {
		return config, nil
	}
	anchors, err := trust.New(t.ClientCA, t.Revoked)
	if err != nil {
		return nil, fmt.Errorf("client CA: %w", err)
	}
	config.ClientCAs, config.ClientAuth = anchors.Pool(), tls.RequireAndVerifyClientCert
	if t.Optional {
		config.ClientAuth = tls.VerifyClientCertIfGiven
	}
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return nil // ClientAuth has decided whether it may have none
		}
		return anchors.Check(state.VerifiedChains, time.Now())
	}
	return config, nil
}

// suites are those of TLS 1.2 with forward secrecy and authenticated encryption.
func suites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}
