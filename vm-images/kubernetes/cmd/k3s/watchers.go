package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/informers"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"alcove/kubernetes/internal/bell"
	"alcove/kubernetes/internal/config"
	"alcove/kubernetes/internal/network"
	"alcove/kubernetes/internal/policy"
	"alcove/kubernetes/internal/storage"
)

func reportTo(prefix string) func(error) {
	return func(err error) { fmt.Fprintf(os.Stderr, "%s: %v\n", prefix, err) }
}

// startWatchers starts what follows the cluster on a node: routes to other
// nodes, network policies and local volumes. They share one set of caches. The
// channel is closed when the network policies are in force.
func startWatchers(parts *components, c *config.Config, node nodeSettings) (<-chan struct{}, error) {
	file := c.Path("agent", "k3scontroller.kubeconfig")
	if node.serverNode {
		// Making volumes for claims is the server's right alone.
		file = c.Path("server", "cred", "supervisor.kubeconfig")
	}
	settings, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		return nil, err
	}
	settings.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := clientset.NewForConfig(settings)
	if err != nil {
		return nil, err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(policy.Trim))
	inForce := make(chan struct{})
	if node.policies {
		parts.Start("network policies", func(ctx context.Context) error {
			return policy.Enforce(ctx, node.identity.name, node.clusterCIDR, factory, reportTo("network policies"), func() { close(inForce) })
		})
	} else {
		close(inForce)
	}
	parts.Start("routes", func(ctx context.Context) error { return followNodes(ctx, node.identity.name, factory) })
	if !c.Disabled["local-storage"] {
		local := &storage.Local{
			Node: node.identity.name, Folder: c.LocalStorage, Client: client, Creates: node.serverNode, Report: reportTo("local volumes"),
		}
		parts.Start("local volumes", func(ctx context.Context) error { return local.Run(ctx, factory) })
	}
	return inForce, nil
}

// followNodes keeps the routes to other nodes' pods.
func followNodes(ctx context.Context, own string, factory informers.SharedInformerFactory) error {
	nodes := factory.Core().V1().Nodes()
	changed := bell.New()
	if _, err := nodes.Informer().AddEventHandler(changed.Changes()); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), nodes.Informer().HasSynced) {
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		if err := network.Sync(ctx, own, nodes.Lister()); err != nil {
			fmt.Fprintln(os.Stderr, "routes:", err)
			changed.RingAfter(10 * time.Second)
		}
	}
}
