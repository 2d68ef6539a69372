package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"alcove/kubernetes/internal/config"
	"alcove/kubernetes/internal/fault"
	"alcove/kubernetes/internal/notify"
	"alcove/kubernetes/internal/pki"
	"alcove/kubernetes/internal/step"
)

const joinRetry = 2 * time.Second

// joiner asks a server for what a node needs.
type joiner struct {
	config   *config.Config
	identity identity
	token    pki.Token
	client   *http.Client
	password string
}

// errRefused is an answer that asking again does not change.
var errRefused = errors.New("refused")

// join is the applet `agent`.
func join(arguments []string) error {
	systemd := notify.Socket()
	c, err := config.Load(config.Agent, arguments, os.Getenv)
	if err != nil {
		return err
	}
	address, err := url.Parse(c.ServerURL)
	if err != nil || address.Scheme != "https" || address.Host == "" {
		return fault.New(fault.CodeConfigInvalid, "an agent needs the server that it joins", "set server to https://HOST:6443")
	}
	token, err := pki.ParseToken(c.Token)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	tuneStart()
	parts := newComponents(ctx)
	parts.Chore("start", func(ctx context.Context) error { return startAgent(ctx, parts, c, token, systemd) })
	return parts.Wait(shutdownGrace)
}

// startAgent joins the server and starts the parts of a node.
func startAgent(ctx context.Context, parts *components, c *config.Config, token pki.Token, systemd string) error {
	own, err := nodeIdentity(c)
	if err != nil {
		return err
	}
	j := &joiner{config: c, identity: own, token: token}
	settings, err := j.untilJoined(ctx)
	if err != nil {
		return err
	}
	step.Report("certificates", step.Done)
	c.Disabled = settings.Disabled
	if c.Disabled == nil {
		c.Disabled = map[string]bool{}
	}
	api := newGate()
	api.Open()
	node := nodeSettings{
		identity: own, server: c.ServerURL, clusterCIDR: settings.ClusterCIDR, clusterDNS: settings.ClusterDNS,
		clusterDomain: settings.ClusterDomain, policies: !c.Disabled["network-policy"],
	}
	if err := startNode(parts, c, node, api); err != nil {
		return err
	}
	parts.Chore("certificate renewal", func(ctx context.Context) error { return watchCertificates(ctx, c) })
	if err := notify.Send(systemd, "READY=1\nSTATUS=joined "+c.ServerURL); err != nil {
		fmt.Fprintln(os.Stderr, "systemd was not told:", err)
	}
	tuneRunning(ctx)
	return nil
}

// untilJoined asks until the server answers. A refusal ends it at once.
func (j *joiner) untilJoined(ctx context.Context) (joinConfig, error) {
	said := ""
	for {
		settings, err := j.attempt(ctx)
		var known *fault.Fault
		if err == nil || errors.As(err, &known) {
			return settings, err
		}
		if err.Error() != said {
			said = err.Error()
			fmt.Fprintln(os.Stderr, "waiting for the server:", err)
		}
		select {
		case <-ctx.Done():
			return joinConfig{}, ctx.Err()
		case <-time.After(joinRetry):
		}
	}
}

func (j *joiner) attempt(ctx context.Context) (joinConfig, error) {
	settings := joinConfig{}
	if err := os.MkdirAll(j.config.Path("agent"), 0o711); err != nil {
		return settings, fault.Wrap(fault.CodePermission, err, "the node's folder could not be made", "an agent needs root")
	}
	if err := j.trust(ctx); err != nil {
		return settings, err
	}
	if err := j.ensurePassword(); err != nil {
		return settings, err
	}
	raw, err := j.request(ctx, http.MethodGet, "config", nil)
	if err != nil {
		return settings, err
	}
	if err := json.Unmarshal(raw, &settings); err != nil {
		return settings, err
	}
	for _, name := range []string{"client-ca.crt", "server-ca.crt"} {
		raw, err := j.request(ctx, http.MethodGet, name, nil)
		if err != nil {
			return settings, err
		}
		if err := pki.WriteFile(j.config.Path("agent", name), raw, 0o644); err != nil {
			return settings, err
		}
	}
	for _, name := range []string{"client-kubelet", "serving-kubelet", "client-kube-proxy", "client-k3s-controller"} {
		if err := j.certificate(ctx, name); err != nil {
			return settings, err
		}
	}
	return settings, nil
}

// trust fetches the server's authority and believes it only when its hash is
// the token's: the first request cannot be verified in any other way.
func (j *joiner) trust(ctx context.Context) error {
	unverified := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		// The answer is checked against the token's hash below, and nothing
		// secret is sent.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, j.config.ServerURL+"/cacerts", nil)
	if err != nil {
		return err
	}
	response, err := unverified.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	authority, err := io.ReadAll(io.LimitReader(response.Body, largestRequest))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the server answered %s", response.Status)
	}
	if j.token.CAHash == "" {
		fmt.Fprintln(os.Stderr, "the token names no authority: whoever answers is believed; use the long token of server/node-token")
	} else if pki.CAHash(authority) != j.token.CAHash {
		return fault.New(fault.CodeToken, "the server's authority is not the one that the token names", "check the address of the server, and copy the token from it again")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority) {
		return fault.New(fault.CodeToken, "the server's answer holds no authority", "check the address of the server")
	}
	j.client = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
	}}
	return nil
}

func (j *joiner) ensurePassword() error {
	path := j.config.Path("agent", "node-password")
	if raw, err := os.ReadFile(path); err == nil {
		j.password = strings.TrimSpace(string(raw))
		return nil
	}
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return err
	}
	j.password = hex.EncodeToString(random)
	return pki.WriteDurable(path, []byte(j.password+"\n"), 0o600)
}

func (j *joiner) request(ctx context.Context, method, name string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, j.config.ServerURL+supervisorPrefix+name, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.SetBasicAuth("node", j.token.Secret)
	request.Header.Set(nodeNameHeader, j.identity.name)
	request.Header.Set(nodePassHeader, j.password)
	request.Header.Set(nodeAddrHeader, strings.Join(append([]string{j.identity.address}, j.identity.external...), ","))
	response, err := j.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	switch response.StatusCode {
	case http.StatusOK:
		return raw, nil
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusBadRequest, http.StatusNotFound:
		return nil, fault.Wrap(fault.CodeToken, errRefused, "the server does not let this node join: "+strings.TrimSpace(string(raw)), "copy the token from server/node-token on the server")
	}
	return nil, fmt.Errorf("the server answered %s", response.Status)
}

// certificate gets a certificate for a key that never leaves this machine.
// One that is still good is kept.
func (j *joiner) certificate(ctx context.Context, name string) error {
	path := j.config.Path("agent", name)
	if raw, err := os.ReadFile(path + ".crt"); err == nil {
		if present, err := pki.ParseCertificate(raw); err == nil && !pki.NeedsRenewal(present) && j.issued(present) {
			return nil
		}
	}
	key, keyPEM, err := pki.NewKey()
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: j.identity.name}}, key)
	if err != nil {
		return err
	}
	raw, err := j.request(ctx, http.MethodPost, name+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	if err != nil {
		return err
	}
	if err := pki.WriteFile(path+".key", keyPEM, 0o600); err != nil {
		return err
	}
	return pki.WriteFile(path+".crt", raw, 0o644)
}

// issued says whether a certificate was signed by one of the cluster's
// present authorities: after a move to another server it was not.
func (j *joiner) issued(certificate *x509.Certificate) bool {
	for _, name := range []string{"client-ca.crt", "server-ca.crt"} {
		raw, err := os.ReadFile(j.config.Path("agent", name))
		if err != nil {
			continue
		}
		if authority, err := pki.ParseCertificate(raw); err == nil && certificate.CheckSignatureFrom(authority) == nil {
			return true
		}
	}
	return false
}
