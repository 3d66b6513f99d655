package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// parseLists reads revocation lists (RFC 5280, section 5). Each must be signed by one
// of the authorities, and each authority have one.
func parseLists(document []byte, authorities []*x509.Certificate) (map[authority]revocationList, error) {
	parts, err := splitLists(document)
	if err != nil {
		return nil, err
	}
	lists := make(map[authority]revocationList)
	for i, part := range parts {
		parsed, err := x509.ParseRevocationList(part)
		if err != nil {
			return nil, fmt.Errorf("part %d: %w", i+1, err)
		}
		if err := complete(parsed); err != nil {
			return nil, fmt.Errorf("part %d, the list of %.100q, %w", i+1, parsed.Issuer, err)
		}
		signer, err := signerOf(parsed, authorities)
		if err != nil {
			return nil, fmt.Errorf("part %d, the list of %.100q, %w", i+1, parsed.Issuer, err)
		}
		if known, ok := lists[signer]; !ok || known.since.Before(parsed.ThisUpdate) {
			lists[signer] = newList(parsed)
		}
	}
	for _, c := range authorities {
		if _, ok := lists[authorityOf(c)]; !ok {
			return nil, fmt.Errorf("there is none of %.100q", c.Subject)
		}
	}
	return lists, nil
}

func splitLists(document []byte) (parts [][]byte, err error) {
	if block, _ := pem.Decode(document); block == nil {
		return [][]byte{document}, nil // DER
	}
	for {
		var block *pem.Block
		if block, document = pem.Decode(document); block == nil {
			return parts, nil
		}
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("part %d is a %.50q, not a revocation list", len(parts)+1, block.Type)
		}
		parts = append(parts, block.Bytes)
	}
}

// complete refuses lists that say less, or more, than who is revoked by their
// signer: those of changes only, and those of some certificates or other authorities.
// Such say so in a critical extension.
func complete(list *x509.RevocationList) error {
	for _, extension := range list.Extensions {
		if extension.Critical {
			return fmt.Errorf("has the critical extension %s, which is not understood: use complete lists", extension.Id)
		}
	}
	if list.NextUpdate.IsZero() {
		return errors.New("does not say until when it is good")
	}
	return nil
}

// signerOf finds the authority whose list it is. Authorities may share a name.
func signerOf(list *x509.RevocationList, authorities []*x509.Certificate) (authority, error) {
	err := errors.New("is of none of the authorities")
	for _, c := range authorities {
		if !bytes.Equal(c.RawSubject, list.RawIssuer) {
			continue
		}
		if wrong := list.CheckSignatureFrom(c); wrong != nil {
			err = fmt.Errorf("is not signed by it: %w", wrong)
			continue
		}
		return authorityOf(c), nil
	}
	return authority{}, err
}

func newList(parsed *x509.RevocationList) revocationList {
	list := revocationList{revoked: make(map[string]bool), since: parsed.ThisUpdate, end: parsed.NextUpdate}
	for _, entry := range parsed.RevokedCertificateEntries {
		list.revoked[entry.SerialNumber.String()] = true
	}
	return list
}
