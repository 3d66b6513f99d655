package trust_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"mcpgateway/policy/authntest"
	"mcpgateway/policy/trust"
)

func list(t testing.TB, document []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(document)
	if block == nil {
		t.Fatal("no PEM")
	}
	return block.Bytes
}

// authority is one that signs odd lists.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

func newAuthority(t *testing.T, name string, usage x509.KeyUsage) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: usage,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{certificate, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (a *authority) list(t *testing.T, change func(*x509.RevocationList)) []byte {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	if change != nil {
		change(template)
	}
	issuer := *a.certificate
	issuer.KeyUsage |= x509.KeyUsageCRLSign // so that it can be made at all
	der, err := x509.CreateRevocationList(rand.Reader, template, &issuer, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func TestNew(t *testing.T) {
	t.Parallel()
	const usage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	a, b, same := newAuthority(t, "a", usage), newAuthority(t, "b", usage), newAuthority(t, "a", usage)
	mute := newAuthority(t, "mute", x509.KeyUsageCertSign)
	partial := func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0x00}}}
	}
	both := bytes.Join([][]byte{a.pem, b.pem}, nil)
	for _, tt := range []struct {
		name      string
		ca, lists []byte
		want      string
	}{
		{"no lists", both, nil, ""},
		{"a list of each", both, bytes.Join([][]byte{b.list(t, nil), a.list(t, nil)}, nil), ""},
		{"DER", a.pem, list(t, a.list(t, nil)), ""},
		{"no list of one", both, a.list(t, nil), `there is none of "CN=b"`},
		{"a list of a stranger", a.pem, b.list(t, nil), `the list of "CN=b", is of none of the authorities`},
		{"a list of the same name", a.pem, same.list(t, nil), "is not signed by it"},
		{"of an authority that may sign none", mute.pem, mute.list(t, nil), "is not signed by it"},
		{"a list of some", a.pem, a.list(t, partial), "critical extension 2.5.29.28"},
		{"no list in it", a.pem, a.pem, `is a "CERTIFICATE"`},
		{"nonsense", a.pem, []byte("nonsense"), "part 1"},
		{"altered", a.pem, altered(t, a.list(t, nil)), "is not signed by it"},
	} {
		_, err := trust.New(tt.ca, tt.lists)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got error %v, want %q", tt.name, err, tt.want)
		}
	}
}

func altered(t *testing.T, document []byte) []byte {
	t.Helper()
	der := list(t, document)
	der[len(der)-1] ^= 1
	return der
}

// Of several lists the newest counts.
func TestNewestList(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "a", x509.KeyUsageCertSign|x509.KeyUsageCRLSign)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(5), NotAfter: time.Now().Add(time.Hour)}
	chains := [][]*x509.Certificate{{leaf, a.certificate}}
	old := a.list(t, nil)
	newer := a.list(t, func(l *x509.RevocationList) {
		l.ThisUpdate = time.Now().Add(-time.Minute)
		l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: big.NewInt(5), RevocationTime: time.Now()}}
	})
	for _, lists := range [][]byte{bytes.Join([][]byte{old, newer}, nil), bytes.Join([][]byte{newer, old}, nil)} {
		anchors, err := trust.New(a.pem, lists)
		if err != nil {
			t.Fatal(err)
		}
		if err := anchors.Check(chains, time.Now()); err == nil || !strings.Contains(err.Error(), "is revoked") {
			t.Errorf("got %v, want it revoked", err)
		}
	}
	anchors, err := trust.New(a.pem, old)
	if err != nil {
		t.Fatal(err)
	}
	if err := anchors.Check(chains, time.Now()); err != nil {
		t.Errorf("by the old list: got %v", err)
	}
	if err := anchors.Check(nil, time.Now()); err == nil {
		t.Error("no chain is good")
	}
}

func FuzzLists(f *testing.F) {
	w := authntest.New(f)
	f.Add(w.CA.List(time.Now().Add(time.Hour)))
	f.Add(list(f, w.CA.List(time.Now().Add(time.Hour))))
	f.Fuzz(func(t *testing.T, document []byte) {
		anchors, err := trust.New(w.CA.PEM, document)
		if err == nil && anchors == nil {
			t.Error("neither anchors nor an error")
		}
	})
}
