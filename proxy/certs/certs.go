// Package certs is how a listener proves itself, and whom it lets connect, by
// the policy in force at each connection. It reads no file: certificates come as
// parts of a policy, and a policy with bad ones is refused before it is in force.
//
// Runs in: proxy.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"mcpgateway/policy"
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
	if len(t.ClientCA) > 0 {
		if config.ClientCAs, err = authorities(t.ClientCA); err != nil {
			return nil, fmt.Errorf("client CA: %w", err)
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
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

// authorities reads every certificate of a PEM document. The standard library's
// own reader passes over those that it can't read, and with them over whoever
// they vouch for.
func authorities(document []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for n := 1; ; n++ {
		var block *pem.Block
		block, document = pem.Decode(document)
		switch {
		case block == nil && n == 1:
			return nil, errors.New("there is no PEM certificate")
		case block == nil:
			return pool, nil
		case block.Type != "CERTIFICATE":
			return nil, fmt.Errorf("part %d is a %.50q, not a certificate", n, block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("part %d: %w", n, err)
		}
		if !certificate.IsCA {
			return nil, fmt.Errorf("part %d, the certificate of %.100q, is not that of an authority", n, certificate.Subject)
		}
		pool.AddCert(certificate)
	}
}
