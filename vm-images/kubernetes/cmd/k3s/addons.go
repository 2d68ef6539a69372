package main

import (
	"context"
	"fmt"
	"os"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"alcove/kubernetes/internal/config"
	"alcove/kubernetes/internal/fault"
	"alcove/kubernetes/internal/manifests"
	"alcove/kubernetes/internal/step"
)

func logTo(prefix string) func(string, ...any) {
	return func(format string, arguments ...any) {
		fmt.Fprintf(os.Stderr, prefix+": "+format+"\n", arguments...)
	}
}

// startAddons writes the bundled addons and keeps server/manifests applied.
func startAddons(ctx context.Context, parts *components, c *config.Config, loopback *rest.Config, client kubernetes.Interface) error {
	folder := c.Path("server", "manifests")
	// Enforcing policies is the agent's business; there is nothing to apply.
	remove, err := manifests.Bundle(folder, manifests.Values{ClusterDNS: c.ClusterDNS, ClusterDomain: c.ClusterDomain}, c.Disabled)
	if err != nil {
		return fault.Wrap(fault.CodeInternal, err, "the addons could not be written", "check that the data disk is writable")
	}
	applier, err := manifests.New(folder, loopback, logTo("manifests"))
	if err != nil {
		return err
	}
	parts.Start("manifests", func(ctx context.Context) error {
		for path, raw := range remove {
			if err := applier.Delete(ctx, raw); err != nil {
				fmt.Fprintf(os.Stderr, "manifests: removing what %s made: %v\n", path, err)
				continue
			}
			if err := os.Remove(path); err != nil {
				fmt.Fprintf(os.Stderr, "manifests: %v\n", err)
			}
		}
		return applier.Run(ctx, func() { step.Report("addons", step.Done) })
	})
	if !c.DisableAgent {
		parts.Chore("node role", func(ctx context.Context) error { return labelServer(ctx, c, client) })
	}
	return nil
}

// labelServer gives the server's own node the role that kubectl shows; a
// kubelet may not give it to itself.
func labelServer(ctx context.Context, c *config.Config, client kubernetes.Interface) error {
	own, err := nodeIdentity(c)
	if err != nil {
		return err
	}
	patch := []byte(`{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":"true"}}}`)
	return wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().Nodes().Patch(ctx, own.name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "node role:", err)
		}
		return err == nil, nil
	})
}

// controllersReady waits for the first visible work of the controllers: the
// service account that every pod of the default namespace needs.
func controllersReady(ctx context.Context, client kubernetes.Interface) error {
	return wait.PollUntilContextCancel(ctx, 2*readyPoll, true, func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, nil
	})
}
