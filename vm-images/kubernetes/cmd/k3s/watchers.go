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

	"alcove/kubernetes/internal/config"
	"alcove/kubernetes/internal/network"
	"alcove/kubernetes/internal/policy"
	"alcove/kubernetes/internal/storage"
)

func reportTo(prefix string) func(error) {
	return func(err error) { fmt.Fprintf(os.Stderr, "%s: %v\n", prefix, err) }
}

// startWatchers starts what follows the cluster on a node: routes to other
// nodes, network policies and local volumes. They share one set of caches.
func startWatchers(ctx context.Context, parts *components, c *config.Config, node nodeSettings) error {
	file := c.Path("agent", "k3scontroller.kubeconfig")
	if node.serverNode {
		// Making volumes for claims is the server's right alone.
		file = c.Path("server", "cred", "supervisor.kubeconfig")
	}
	settings, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		return err
	}
	settings.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := clientset.NewForConfig(settings)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(policy.Trim))
	if node.policies {
		parts.Start("network policies", func(ctx context.Context) error {
			return policy.Enforce(ctx, node.identity.name, node.clusterCIDR, factory, reportTo("network policies"))
		})
	}
	parts.Start("routes", func(ctx context.Context) error { return followNodes(ctx, node.identity.name, factory) })
	if !c.Disabled["local-storage"] {
		local := &storage.Local{
			Node: node.identity.name, Folder: c.LocalStorage, Client: client, Creates: node.serverNode, Report: reportTo("local volumes"),
		}
		parts.Start("local volumes", func(ctx context.Context) error { return local.Run(ctx, factory) })
	}
	return nil
}

// followNodes keeps the routes to other nodes' pods.
func followNodes(ctx context.Context, own string, factory informers.SharedInformerFactory) error {
	nodes := factory.Core().V1().Nodes()
	changed := make(chan struct{}, 1)
	notice := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	if _, err := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { notice() }, UpdateFunc: func(any, any) { notice() }, DeleteFunc: func(any) { notice() },
	}); err != nil {
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
			time.AfterFunc(10*time.Second, notice)
		}
	}
}
