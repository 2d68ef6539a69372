package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// Authorities are the three of a K3s server.
type Authorities struct {
	Server        *Authority
	Client        *Authority
	RequestHeader *Authority
}

// ServerNames are what the API server's certificate is valid for.
type ServerNames struct {
	ServiceIP     string
	ClusterDomain string
	Hosts         []string
}

// leafOf is one certificate of a server: its file's name and its content.
type leafOf struct {
	file      string
	authority func(*Authorities) *Authority
	leaf      Leaf
}

func clientCA(a *Authorities) *Authority  { return a.Client }
func serverCA(a *Authorities) *Authority  { return a.Server }
func requestCA(a *Authorities) *Authority { return a.RequestHeader }

func serverLeaves(names ServerNames) []leafOf {
	masters := []string{"system:masters"}
	hosts := append([]string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + names.ClusterDomain,
		"localhost", "127.0.0.1", "::1", names.ServiceIP,
	}, names.Hosts...)
	return []leafOf{
		{"client-admin", clientCA, Leaf{CommonName: "system:admin", Organizations: masters}},
		{"client-supervisor", clientCA, Leaf{CommonName: "system:k3s-supervisor", Organizations: masters}},
		// The controllers share one process with the API server, so a
		// credential for each of them would separate nothing and cost a
		// service account and a token request per controller at every start.
		{"client-controller", clientCA, Leaf{CommonName: "system:kube-controller-manager", Organizations: masters}},
		{"client-scheduler", clientCA, Leaf{CommonName: "system:kube-scheduler", Organizations: masters}},
		{"client-kube-apiserver", clientCA, Leaf{CommonName: "system:apiserver", Organizations: masters}},
		{"client-kube-proxy", clientCA, Leaf{CommonName: "system:kube-proxy"}},
		{"client-k3s-controller", clientCA, Leaf{CommonName: "system:k3s-controller"}},
		{"client-auth-proxy", requestCA, Leaf{CommonName: "system:auth-proxy"}},
		{"serving-kube-apiserver", serverCA, Leaf{CommonName: "kube-apiserver", Names: hosts}},
	}
}

// EnsureServer makes whatever is missing or near its end below server/tls.
// It returns the authorities and how many certificates were made.
func EnsureServer(folder string, names ServerNames) (*Authorities, int, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, 0, err
	}
	authorities := &Authorities{}
	var err error
	if authorities.Server, err = LoadAuthority(filepath.Join(folder, "server-ca"), "k3s-server-ca"); err != nil {
		return nil, 0, err
	}
	if authorities.Client, err = LoadAuthority(filepath.Join(folder, "client-ca"), "k3s-client-ca"); err != nil {
		return nil, 0, err
	}
	if authorities.RequestHeader, err = LoadAuthority(filepath.Join(folder, "request-header-ca"), "k3s-request-header-ca"); err != nil {
		return nil, 0, err
	}
	if err := ensureServiceKey(filepath.Join(folder, "service.key")); err != nil {
		return nil, 0, err
	}
	var (
		group   sync.WaitGroup
		mutex   sync.Mutex
		made    int
		failure error
	)
	for _, entry := range serverLeaves(names) {
		group.Add(1)
		go func() {
			defer group.Done()
			fresh, err := entry.authority(authorities).Ensure(filepath.Join(folder, entry.file), entry.leaf)
			mutex.Lock()
			defer mutex.Unlock()
			if fresh {
				made++
			}
			if err != nil && failure == nil {
				failure = fmt.Errorf("%s: %w", entry.file, err)
			}
		}()
	}
	group.Wait()
	return authorities, made, failure
}

// EnsureNode makes a node's two certificates on the machine that holds the
// authorities; a joining node gets the same ones over the network.
func EnsureNode(folder string, authorities *Authorities, node string, addresses []string) (int, error) {
	made := 0
	for file, entry := range map[string]struct {
		authority *Authority
		leaf      Leaf
	}{
		"client-kubelet":  {authorities.Client, KubeletClient(node)},
		"serving-kubelet": {authorities.Server, KubeletServing(node, addresses)},
	} {
		fresh, err := entry.authority.Ensure(filepath.Join(folder, file), entry.leaf)
		if err != nil {
			return made, fmt.Errorf("%s: %w", file, err)
		}
		if fresh {
			made++
		}
	}
	return made, nil
}

// KubeletClient is what the node authorizer wants a kubelet to be called.
func KubeletClient(node string) Leaf {
	return Leaf{CommonName: "system:node:" + node, Organizations: []string{"system:nodes"}}
}

// KubeletServing is the certificate of the kubelet's own port.
func KubeletServing(node string, addresses []string) Leaf {
	names := []string{node, "localhost", "127.0.0.1"}
	for _, address := range addresses {
		if net.ParseIP(address) != nil && address != "127.0.0.1" {
			names = append(names, address)
		}
	}
	return Leaf{CommonName: node, Names: names}
}

// ensureServiceKey makes the key that signs service account tokens. It is
// never renewed: that would end every token at once.
func ensureServiceKey(path string) error {
	if raw, err := os.ReadFile(path); err == nil {
		if _, err := ParseKey(raw); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return WriteDurable(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

// Due lists the certificates in a folder that should be renewed now.
func Due(folders ...string) ([]string, error) {
	due := []string{}
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*.crt"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			certificate, err := ParseCertificate(raw)
			if err != nil || certificate.IsCA {
				continue
			}
			if NeedsRenewal(certificate) {
				due = append(due, file)
			}
		}
	}
	return due, nil
}
