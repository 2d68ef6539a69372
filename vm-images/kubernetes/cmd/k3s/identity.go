package main

import (
	"net"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"alcove/kubernetes/internal/config"
	"alcove/kubernetes/internal/fault"
	"alcove/kubernetes/internal/pki"
)

// identity is what a node is called and where it is reached.
type identity struct {
	name     string
	address  string
	external []string
}

func nodeIdentity(c *config.Config) (identity, error) {
	name := c.NodeName
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			return identity{}, fault.Wrap(fault.CodeConfigInvalid, err, "the host name is unknown", "set node-name")
		}
		name = strings.ToLower(host)
	}
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return identity{}, fault.New(fault.CodeConfigInvalid, "the node cannot be called "+name+": "+problems[0], "set node-name")
	}
	address := c.NodeIP
	if address == "" {
		address = outwardAddress()
	}
	return identity{name: name, address: address, external: c.NodeExternalIPs}, nil
}

// outwardAddress is the address that packets to the outside leave from. No
// packet is sent: connecting a UDP socket only asks the routing table.
func outwardAddress() string {
	connection, err := net.Dial("udp4", "192.0.2.1:9")
	if err == nil {
		defer connection.Close()
		if local, ok := connection.LocalAddr().(*net.UDPAddr); ok && !local.IP.IsLoopback() {
			return local.IP.String()
		}
	}
	addresses, err := net.InterfaceAddrs()
	if err == nil {
		for _, address := range addresses {
			if network, ok := address.(*net.IPNet); ok && network.IP.To4() != nil && network.IP.IsGlobalUnicast() {
				return network.IP.String()
			}
		}
	}
	return "127.0.0.1"
}

// localNodeCertificates makes the certificates of the node that shares the
// server's machine, in K3s's places.
func localNodeCertificates(c *config.Config, authorities *pki.Authorities, identity identity) error {
	folder := c.Path("agent")
	if _, err := pki.EnsureNode(folder, authorities, identity.name, append([]string{identity.address}, identity.external...)); err != nil {
		return err
	}
	for name, leaf := range map[string]pki.Leaf{
		"client-kube-proxy":     {CommonName: "system:kube-proxy"},
		"client-k3s-controller": {CommonName: "system:k3s-controller"},
	} {
		if _, err := authorities.Client.Ensure(c.Path("agent", name), leaf); err != nil {
			return err
		}
	}
	if err := pki.WriteFile(c.Path("agent", "client-ca.crt"), authorities.Client.PEM, 0o644); err != nil {
		return err
	}
	return pki.WriteFile(c.Path("agent", "server-ca.crt"), authorities.Server.PEM, 0o644)
}
