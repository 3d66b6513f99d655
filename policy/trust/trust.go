// Package trust says which client certificates are good: those of the configured
// authorities that no revocation list names. It verifies no handshake: it is given
// chains that crypto/tls has verified, and judges them again as often as it is asked,
// so that what ends while a connection lives is noticed. It reads no file.
//
// Runs in: proxy, CLI.
package trust

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// Anchors are the authorities of a listener and their revocation lists. They are
// immutable.
type Anchors struct {
	pool  *x509.CertPool
	roots map[string]bool              // their certificates, DER
	lists map[authority]revocationList // nil: no list is asked for
}

// authority is one by its name and key: it may have several certificates.
type authority [sha256.Size]byte

func authorityOf(c *x509.Certificate) authority {
	return sha256.Sum256(append(bytes.Clone(c.RawSubject), c.RawSubjectPublicKeyInfo...))
}

// revocationList is what the newest list of an authority says.
type revocationList struct {
	revoked    map[string]bool // serial numbers
	since, end time.Time
}

// New reads authorities, PEM, and their revocation lists, PEM or DER. If there is
// any list, each authority needs one. A list that has run out is not refused here:
// the certificates of its authority are, until there is a newer one.
func New(authorities, lists []byte) (*Anchors, error) {
	certificates, err := parseAuthorities(authorities)
	if err != nil {
		return nil, err
	}
	a := &Anchors{pool: x509.NewCertPool(), roots: make(map[string]bool)}
	for _, c := range certificates {
		a.pool.AddCert(c)
		a.roots[string(c.Raw)] = true
	}
	if len(lists) > 0 {
		if a.lists, err = parseLists(lists, certificates); err != nil {
			return nil, fmt.Errorf("revocation lists: %w", err)
		}
	}
	return a, nil
}

// Pool has the authorities, for crypto/tls.
func (a *Anchors) Pool() *x509.CertPool { return a.pool }

// Check returns nil if one of the chains that crypto/tls has verified, the holder's
// certificate first, is good at a time: of an authority that is still one, neither
// too old nor too new, and not revoked. Its error says why the last of them is not.
func (a *Anchors) Check(chains [][]*x509.Certificate, now time.Time) error {
	err := errors.New("the certificate was not verified")
	for _, chain := range chains {
		if err = a.check(chain, now); err == nil {
			return nil
		}
	}
	return err
}

func (a *Anchors) check(chain []*x509.Certificate, now time.Time) error {
	if len(chain) == 0 || !a.roots[string(chain[len(chain)-1].Raw)] {
		return errors.New("the certificate is of no authority that is known here")
	}
	for i, c := range chain {
		switch {
		case now.After(c.NotAfter):
			return fmt.Errorf("the certificate of %.100q has expired", c.Subject)
		case now.Before(c.NotBefore):
			return fmt.Errorf("the certificate of %.100q is not valid yet", c.Subject)
		case a.lists == nil || i == len(chain)-1: // an authority is not revoked, but removed
			continue
		}
		if err := a.notRevoked(c, chain[i+1], now); err != nil {
			return err
		}
	}
	return nil
}

// notRevoked fails closed: an old list does not say who was revoked since.
func (a *Anchors) notRevoked(c, issuer *x509.Certificate, now time.Time) error {
	list, ok := a.lists[authorityOf(issuer)]
	switch {
	case !ok:
		return fmt.Errorf("there is no revocation list of %.100q, so that no certificate of it is good", issuer.Subject)
	case now.After(list.end):
		return fmt.Errorf("the revocation list of %.100q has run out, so that no certificate of it is good", issuer.Subject)
	case list.revoked[c.SerialNumber.String()]:
		return fmt.Errorf("the certificate of %.100q is revoked", c.Subject)
	}
	return nil
}

// parseAuthorities reads every certificate of a PEM document. The standard library's
// own reader passes over those that it can't read, and with them over whoever they
// vouch for.
func parseAuthorities(document []byte) (all []*x509.Certificate, err error) {
	for n := 1; ; n++ {
		var block *pem.Block
		block, document = pem.Decode(document)
		switch {
		case block == nil && n == 1:
			return nil, errors.New("there is no PEM certificate")
		case block == nil:
			return all, nil
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
		all = append(all, certificate)
	}
}
