// Package network gives a node's pods their network: the plugins'
// configuration, masquerading, and routes to the pods of other nodes.
package network

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"alcove/kubernetes/internal/pki"
)

// leases is where addresses are handed out from. ConfigFolder is where the
// plugins' configuration lies. Both are below /run: no pod outlives a reboot,
// and a configuration from the boot before would make the node's network ready
// before the network policies are in force.
const (
	leases       = "/run/k3s/cni"
	ConfigFolder = leases + "/net.d"
)

// Conflist renders the plugins' configuration for a node's range of pods.
//
// Every pod hangs on the node by a pair of interfaces of its own and all its
// packets are routed, those to a neighbour too: so services and network
// policies see every packet without the bridge filter of the kernel.
func Conflist(podCIDR string) ([]byte, error) {
	return json.MarshalIndent(map[string]any{
		"cniVersion": "1.0.0",
		"name":       "alcove",
		"plugins": []map[string]any{
			{
				"type":   "ptp",
				"ipMasq": false,
				"ipam": map[string]any{
					"type":    "host-local",
					"ranges":  [][]map[string]string{{{"subnet": podCIDR}}},
					"routes":  []map[string]string{{"dst": "0.0.0.0/0"}},
					"dataDir": leases,
				},
			},
			{
				"type":         "portmap",
				"backend":      "nftables",
				"capabilities": map[string]bool{"portMappings": true},
				"snat":         true,
			},
		},
	}, "", "  ")
}

// WriteConflist puts the configuration where containerd looks for it, which
// makes the node's network ready.
func WriteConflist(folder, podCIDR string) error {
	content, err := Conflist(podCIDR)
	if err != nil {
		return err
	}
	if err := pki.WriteFile(filepath.Join(folder, "10-alcove.conflist"), append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("network configuration: %w", err)
	}
	return nil
}
