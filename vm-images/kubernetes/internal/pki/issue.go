// Package pki makes and renews a cluster's certificates in K3s's places,
// without another process.
package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Lifetimes. A leaf is renewed when less than RenewBefore of it is left.
const (
	AuthorityYears = 10
	LeafLifetime   = 365 * 24 * time.Hour
	RenewBefore    = 120 * 24 * time.Hour
)

// validSince is the beginning of whatever is made here. A machine takes its
// time from its host, whose clock may be ahead when the machine is made and put
// right later; until it had caught up, nobody would trust anybody.
var validSince = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Authority signs certificates.
type Authority struct {
	Certificate *x509.Certificate
	PEM         []byte
	key         crypto.Signer
}

// Leaf describes a certificate to be made.
type Leaf struct {
	CommonName    string
	Organizations []string
	// Names are DNS names and IP addresses; a certificate with names is a
	// server's, and a client's too when Client is set.
	Names  []string
	Client bool
}

// clock is replaced by tests.
var clock = time.Now

func serial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
}

// NewKey makes a key and its PEM form.
func NewKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// ParseKey reads a private key in any of the usual PEM forms.
func ParseKey(raw []byte) (crypto.Signer, error) {
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "EC PRIVATE KEY":
			return x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			return x509.ParsePKCS1PrivateKey(block.Bytes)
		case "PRIVATE KEY":
			parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, err
			}
			if signer, ok := parsed.(crypto.Signer); ok {
				return signer, nil
			}
			return nil, errors.New("the key cannot sign")
		}
	}
	return nil, errors.New("no private key in PEM form found")
}

// ParseCertificate reads the first certificate of a PEM file.
func ParseCertificate(raw []byte) (*x509.Certificate, error) {
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, errors.New("no certificate in PEM form found")
}

// LoadAuthority gives the authority at path.crt and path.key. When neither
// file exists it is made; K3s's own-CA contract is that files which a person
// put there are used as they are.
func LoadAuthority(path, commonName string) (*Authority, error) {
	certificatePath, keyPath := path+".crt", path+".key"
	rawCertificate, err := os.ReadFile(certificatePath)
	if errors.Is(err, os.ErrNotExist) {
		if _, keyErr := os.Stat(keyPath); keyErr == nil {
			return nil, fmt.Errorf("%s exists without %s: put both there or neither", keyPath, certificatePath)
		}
		return newAuthority(path, commonName)
	}
	if err != nil {
		return nil, err
	}
	rawKey, err := os.ReadFile(keyPath)
	if err != nil {
		return nil, fmt.Errorf("the key of %s: %w", certificatePath, err)
	}
	certificate, err := ParseCertificate(rawCertificate)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certificatePath, err)
	}
	if !certificate.IsCA {
		return nil, fmt.Errorf("%s is not a certificate authority", certificatePath)
	}
	if clock().After(certificate.NotAfter) {
		return nil, fmt.Errorf("%s expired on %s", certificatePath, certificate.NotAfter.Format(time.DateOnly))
	}
	if clock().Before(certificate.NotBefore) {
		return nil, fmt.Errorf("%s is not valid before %s, and this machine's clock says %s",
			certificatePath, certificate.NotBefore.Format(time.RFC3339), clock().UTC().Format(time.RFC3339))
	}
	key, err := ParseKey(rawKey)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyPath, err)
	}
	if !samePublicKey(certificate.PublicKey, key.Public()) {
		return nil, fmt.Errorf("%s and %s do not belong together", certificatePath, keyPath)
	}
	return &Authority{Certificate: certificate, PEM: rawCertificate, key: key}, nil
}

func samePublicKey(a, b crypto.PublicKey) bool {
	type comparable interface{ Equal(crypto.PublicKey) bool }
	left, ok := a.(comparable)
	return ok && left.Equal(b)
}

func newAuthority(path, commonName string) (*Authority, error) {
	key, keyPEM, err := NewKey()
	if err != nil {
		return nil, err
	}
	number, err := serial()
	if err != nil {
		return nil, err
	}
	now := clock()
	template := &x509.Certificate{
		SerialNumber:          number,
		Subject:               pkix.Name{CommonName: fmt.Sprintf("%s@%d", commonName, now.Unix())},
		NotBefore:             validSince,
		NotAfter:              now.AddDate(AuthorityYears, 0, 0).UTC(),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	certificatePEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	// The key first: a certificate without its key would look like a
	// half-installed authority of the owner's.
	if err := WriteDurable(path+".key", keyPEM, 0o600); err != nil {
		return nil, err
	}
	if err := WriteDurable(path+".crt", certificatePEM, 0o644); err != nil {
		return nil, err
	}
	return &Authority{Certificate: certificate, PEM: certificatePEM, key: key}, nil
}

// SelfSigned makes a certificate that vouches for itself, and its key, as PEM:
// for a listener whose only clients are given the certificate itself.
func SelfSigned(name string) (certificate, key []byte, err error) {
	private, keyPEM, err := NewKey()
	if err != nil {
		return nil, nil, err
	}
	number, err := serial()
	if err != nil {
		return nil, nil, err
	}
	now := clock()
	template := &x509.Certificate{
		SerialNumber: number, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: validSince, NotAfter: now.AddDate(AuthorityYears, 0, 0).UTC(),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM, nil
}

// Sign makes a certificate for a public key. The authority's own certificate
// follows it, as clients of an intermediate authority need.
func (a *Authority) Sign(leaf Leaf, public crypto.PublicKey) ([]byte, error) {
	number, err := serial()
	if err != nil {
		return nil, err
	}
	now := clock()
	until := now.Add(LeafLifetime)
	if until.After(a.Certificate.NotAfter) {
		until = a.Certificate.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: number,
		Subject:      pkix.Name{CommonName: leaf.CommonName, Organization: leaf.Organizations},
		NotBefore:    validSince,
		NotAfter:     until.UTC(),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	if len(leaf.Names) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if leaf.Client || len(leaf.Names) == 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	for _, name := range leaf.Names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, public, a.key)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
		return nil, err
	}
	out.Write(a.PEM)
	return out.Bytes(), nil
}

// Ensure keeps path.crt and path.key usable: it makes the certificate when it
// is missing, unreadable, signed by another authority, near its end, or says
// other things than the leaf asks for. It reports whether it made a new one.
func (a *Authority) Ensure(path string, leaf Leaf) (bool, error) {
	if usable(path, a, leaf) {
		return false, nil
	}
	key, keyPEM, err := NewKey()
	if err != nil {
		return false, err
	}
	certificate, err := a.Sign(leaf, key.Public())
	if err != nil {
		return false, err
	}
	if err := WriteFile(path+".key", keyPEM, 0o600); err != nil {
		return false, err
	}
	return true, WriteFile(path+".crt", certificate, 0o644)
}

func usable(path string, authority *Authority, leaf Leaf) bool {
	raw, err := os.ReadFile(path + ".crt")
	if err != nil {
		return false
	}
	certificate, err := ParseCertificate(raw)
	if err != nil {
		return false
	}
	rawKey, err := os.ReadFile(path + ".key")
	if err != nil {
		return false
	}
	key, err := ParseKey(rawKey)
	if err != nil || !samePublicKey(certificate.PublicKey, key.Public()) {
		return false
	}
	if certificate.CheckSignatureFrom(authority.Certificate) != nil || NeedsRenewal(certificate) {
		return false
	}
	if certificate.Subject.CommonName != leaf.CommonName || !sameWords(certificate.Subject.Organization, leaf.Organizations) {
		return false
	}
	names := append([]string{}, certificate.DNSNames...)
	for _, ip := range certificate.IPAddresses {
		names = append(names, ip.String())
	}
	have := map[string]bool{}
	for _, name := range names {
		have[name] = true
	}
	for _, name := range leaf.Names {
		if !have[name] {
			return false
		}
	}
	return true
}

// NeedsRenewal says whether a certificate is near its end, or not valid yet:
// a guest whose clock was wrong at first boot must not keep what it made.
func NeedsRenewal(certificate *x509.Certificate) bool {
	now := clock()
	return certificate.NotAfter.Sub(now) < RenewBefore || now.Before(certificate.NotBefore)
}

func sameWords(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// WriteFile replaces a file whole. After power loss it may be gone or empty:
// good for what is made again when it cannot be read.
func WriteFile(path string, content []byte, mode os.FileMode) error {
	return write(path, content, mode, false)
}

// WriteDurable is WriteFile for what can't be made again: authorities, keys
// that signed something, tokens. When it returns, the content is on the disk.
func WriteDurable(path string, content []byte, mode os.FileMode) error {
	return write(path, content, mode, true)
}

func write(path string, content []byte, mode os.FileMode, durable bool) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	if err := temporary.Chmod(mode); err != nil {
		temporary.Close()
		return err
	}
	if _, err := temporary.Write(content); err != nil {
		temporary.Close()
		return err
	}
	if durable {
		if err := temporary.Sync(); err != nil {
			temporary.Close()
			return err
		}
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	if err := os.Rename(temporary.Name(), path); err != nil || !durable {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}
