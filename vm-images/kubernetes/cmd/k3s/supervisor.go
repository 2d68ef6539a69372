package main

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"

	"alcove/kubernetes/internal/config"
	"alcove/kubernetes/internal/pki"
)

const (
	supervisorPrefix = "/v1-k3s/"
	largestRequest   = 64 << 10
	nodeNameHeader   = "k3s-Node-Name"
	nodePassHeader   = "k3s-Node-Password"
	nodeAddrHeader   = "k3s-Node-IP"
)

// joinConfig is what a joining node takes over from the server.
type joinConfig struct {
	ClusterCIDR   string          `json:"clusterCIDR"`
	ServiceCIDR   string          `json:"serviceCIDR"`
	ClusterDNS    string          `json:"clusterDNS"`
	ClusterDomain string          `json:"clusterDomain"`
	Disabled      map[string]bool `json:"disabled"`
}

// supervisor answers joining nodes on the API's own port, before the API's
// authentication: a node without certificates shows the token instead.
type supervisor struct {
	config      *config.Config
	authorities *pki.Authorities
	token       pki.Token

	mutex  sync.Mutex
	client kubernetes.Interface
}

func (s *supervisor) setClient(client kubernetes.Interface) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.client = client
}

func (s *supervisor) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/cacerts" && r.Method == http.MethodGet:
			writePEM(w, s.authorities.Server.PEM)
		case r.URL.Path == "/ping" && r.Method == http.MethodGet:
			io.WriteString(w, "pong")
		case strings.HasPrefix(r.URL.Path, supervisorPrefix):
			s.join(w, r, strings.TrimPrefix(r.URL.Path, supervisorPrefix))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func writePEM(w http.ResponseWriter, content []byte) {
	w.Header().Set("Content-Type", "text/plain")
	w.Write(content)
}

func (s *supervisor) join(w http.ResponseWriter, r *http.Request, name string) {
	user, secret, ok := r.BasicAuth()
	if !ok || !s.token.Matches(user, secret) {
		w.Header().Set("WWW-Authenticate", `Basic realm="k3s"`)
		http.Error(w, "not authorized: the token is not this cluster's", http.StatusUnauthorized)
		return
	}
	switch name {
	case "config":
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(joinConfig{
			ClusterCIDR: s.config.ClusterCIDR, ServiceCIDR: s.config.ServiceCIDR, ClusterDNS: s.config.ClusterDNS,
			ClusterDomain: s.config.ClusterDomain, Disabled: s.config.Disabled,
		})
		return
	case "client-ca.crt":
		writePEM(w, s.authorities.Client.PEM)
		return
	case "server-ca.crt":
		writePEM(w, s.authorities.Server.PEM)
		return
	}
	if r.Method != http.MethodPost {
		http.Error(w, "a certificate request is sent by POST", http.StatusMethodNotAllowed)
		return
	}
	node := r.Header.Get(nodeNameHeader)
	if problems := validation.IsDNS1123Subdomain(node); len(problems) > 0 {
		http.Error(w, "the node's name is not valid: "+problems[0], http.StatusBadRequest)
		return
	}
	authority, leaf := s.authorities.Client, pki.Leaf{}
	switch name {
	case "client-kubelet.crt":
		leaf = pki.KubeletClient(node)
	case "serving-kubelet.crt":
		addresses := strings.Split(r.Header.Get(nodeAddrHeader), ",")
		for _, address := range addresses {
			if net.ParseIP(address) == nil {
				http.Error(w, "the node's address is not an IP address", http.StatusBadRequest)
				return
			}
		}
		authority, leaf = s.authorities.Server, pki.KubeletServing(node, addresses)
	case "client-kube-proxy.crt":
		leaf = pki.Leaf{CommonName: "system:kube-proxy"}
	case "client-k3s-controller.crt":
		leaf = pki.Leaf{CommonName: "system:k3s-controller"}
	default:
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	if status, err := s.checkNode(r.Context(), node, r.Header.Get(nodePassHeader)); err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	public, err := readRequest(io.LimitReader(r.Body, largestRequest))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	// Only the key is taken from the request; who it is for, the server says.
	certificate, err := authority.Sign(leaf, public)
	if err != nil {
		http.Error(w, "the certificate could not be signed", http.StatusInternalServerError)
		return
	}
	writePEM(w, certificate)
}

func readRequest(body io.Reader) (crypto.PublicKey, error) {
	raw, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("the body is not a certificate request in PEM form")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, errors.New("the certificate request is malformed")
	}
	if err := request.CheckSignature(); err != nil {
		return nil, errors.New("the certificate request is not signed by its own key")
	}
	return request.PublicKey, nil
}

// checkNode binds a node's name to the machine that used it first: the token
// alone does not let one machine pose as another.
func (s *supervisor) checkNode(ctx context.Context, node, password string) (int, error) {
	s.mutex.Lock()
	client := s.client
	s.mutex.Unlock()
	if client == nil {
		return http.StatusServiceUnavailable, errors.New("the server is still starting")
	}
	if len(password) < 16 {
		return http.StatusBadRequest, errors.New("the node's password is missing")
	}
	sum := sha256.Sum256([]byte(password))
	hash := hex.EncodeToString(sum[:])
	name := node + ".node-password.k3s"
	secrets := client.CoreV1().Secrets(metav1.NamespaceSystem)
	stored, err := secrets.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		if node == s.ownNode() {
			return http.StatusForbidden, errors.New("the node's name is the server's own")
		}
		_, err = secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{"hash": []byte(hash)},
		}, metav1.CreateOptions{})
		if err == nil {
			return 0, nil
		}
	}
	if err != nil {
		return http.StatusServiceUnavailable, errors.New("the node's password could not be checked")
	}
	if subtle.ConstantTimeCompare(stored.Data["hash"], []byte(hash)) != 1 {
		return http.StatusForbidden, errors.New("another machine has joined under this node name: choose another node-name, or delete the secret " + name + " in kube-system")
	}
	return 0, nil
}

func (s *supervisor) ownNode() string {
	own, err := nodeIdentity(s.config)
	if err != nil || s.config.DisableAgent {
		return ""
	}
	return own.name
}
