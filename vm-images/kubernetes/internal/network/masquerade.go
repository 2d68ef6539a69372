package network

import (
	"context"
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/knftables"
)

// kernelSettings let the kernel route for the pods.
var kernelSettings = map[string]string{
	"net/ipv4/ip_forward":                  "1",
	"net/ipv4/conf/all/send_redirects":     "0",
	"net/ipv4/conf/default/send_redirects": "0",
}

// PrepareKernel applies the settings that differ.
func PrepareKernel() error {
	for name, value := range kernelSettings {
		path := "/proc/sys/" + name
		if raw, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(raw)) == value {
			continue
		}
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return fmt.Errorf("kernel setting %s: %w", name, err)
		}
	}
	return nil
}

// Masquerade lets pods reach the outside under the node's address. One rule
// serves all pods, so that starting a pod changes no firewall.
func Masquerade(ctx context.Context, clusterCIDR string) error {
	nft, err := knftables.New(knftables.IPv4Family, "alcove-network")
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	transaction := nft.NewTransaction()
	transaction.Add(&knftables.Table{Comment: knftables.PtrTo("pods reach the outside under the node's address")})
	transaction.Add(&knftables.Chain{
		Name: "postrouting", Type: knftables.PtrTo(knftables.NATType),
		Hook: knftables.PtrTo(knftables.PostroutingHook), Priority: knftables.PtrTo(knftables.SNATPriority),
	})
	transaction.Flush(&knftables.Chain{Name: "postrouting"})
	transaction.Add(&knftables.Rule{
		Chain: "postrouting",
		Rule:  knftables.Concat("ip saddr", clusterCIDR, "ip daddr !=", clusterCIDR, "fib daddr type != local", "masquerade"),
	})
	return nft.Run(ctx, transaction)
}
