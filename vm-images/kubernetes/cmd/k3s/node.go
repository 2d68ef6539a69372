package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"

	"alcove/kubernetes/internal/config"
	"alcove/kubernetes/internal/containerd"
	"alcove/kubernetes/internal/fault"
	"alcove/kubernetes/internal/images"
	"alcove/kubernetes/internal/kubeconfig"
	"alcove/kubernetes/internal/network"
	"alcove/kubernetes/internal/pki"
	"alcove/kubernetes/internal/step"
)

// startNode starts a node's parts. containerd and the kubelet get ready while
// the API server still starts.
func startNode(parts *components, c *config.Config, node nodeSettings, api *gate) error {
	if err := ensureFolders(c); err != nil {
		return err
	}
	for file, certificate := range map[string]string{
		"kubelet": "client-kubelet", "kubeproxy": "client-kube-proxy", "k3scontroller": "client-k3s-controller",
	} {
		err := kubeconfig.Referring(c.Path("agent", file+".kubeconfig"), node.server, c.Path("agent", "server-ca.crt"),
			c.Path("agent", certificate+".crt"), c.Path("agent", certificate+".key"))
		if err != nil {
			return fault.Wrap(fault.CodePermission, err, "the node's kubeconfigs could not be written", "check that the data disk is writable")
		}
	}
	if err := network.PrepareKernel(); err != nil {
		return fault.Wrap(fault.CodeHostUnsupported, err, "the kernel could not be set up", "run `k3s check-config`")
	}
	if err := startContainerd(parts, c); err != nil {
		return err
	}
	parts.Chore("images and kubelet", func(ctx context.Context) error {
		connection, err := containerd.Connect(ctx)
		if err != nil {
			return err
		}
		step.Report("containerd", step.Ready)
		// The kubelet waits for no image: a pod that comes before its image
		// is tried again.
		parts.Start("kubelet", func(ctx context.Context) error { return runKubelet(ctx, c, node, api) })
		return registerImages(ctx, c, connection)
	})
	parts.Chore("node network", func(ctx context.Context) error { return startNetwork(ctx, parts, c, node, api) })
	return nil
}

func startContainerd(parts *components, c *config.Config) error {
	binary, err := containerd.Find("containerd")
	if err != nil {
		return fault.New(fault.CodeContainerd, containerd.ErrNoBinary.Error(), "it belongs to /usr/lib/k3s/bin")
	}
	runc, err := containerd.Find("runc")
	if err != nil {
		return fault.New(fault.CodeContainerd, "runc is not installed", "install Debian's package runc")
	}
	shimGroup, err := containerd.PrepareShimGroup()
	if err != nil {
		return fault.Wrap(fault.CodeHostUnsupported, err, "the pods' keepers have no place to live", "run `k3s check-config`")
	}
	configFile := c.Path("agent", "etc", "containerd", "config.toml")
	if err := images.WriteRegistries(c.Registries, c.Path("agent", "etc", "containerd", "certs.d")); err != nil {
		return fault.Wrap(fault.CodeConfigInvalid, err, "the registries file is not understood", "see K3s's documentation of registries.yaml")
	}
	content := containerd.Render(containerd.Settings{
		DataFolder: c.Path("agent"), Snapshotter: c.Snapshotter, PauseImage: c.PauseImage,
		CNIBinaries: cniFolders(), CNIConfig: network.ConfigFolder, Runc: runc,
		ShimGroup: shimGroup,
	})
	if err := pki.WriteFile(configFile, []byte(content), 0o600); err != nil {
		return fault.Wrap(fault.CodeContainerd, err, "containerd's configuration could not be written", "check that the data disk is writable")
	}
	parts.Start("containerd", func(ctx context.Context) error { return containerd.Run(ctx, binary, configFile) })
	return nil
}

// registerImages makes the guest's own images known, then imports archives.
// An image that fails is reported and does not keep the node from starting.
func registerImages(ctx context.Context, c *config.Config, connection *grpc.ClientConn) error {
	defer connection.Close()
	registrar := images.NewRegistrar(connection, c.Snapshotter)
	bundles, problems := images.Bundles(c.ImageBundles)
	for _, bundle := range bundles {
		if err := registrar.Register(ctx, bundle); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", bundle.Reference, err))
		}
	}
	state := "registered"
	for _, problem := range problems {
		fmt.Fprintln(os.Stderr, "images:", problem)
		state = step.Failed
	}
	step.Report("images", state)
	if imported, err := images.ImportArchives(ctx, c.Path("agent", "images"), c.Snapshotter); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
	} else if imported > 0 {
		step.Report("images", "imported")
	}
	return nil
}

// startNetwork waits for the node's range of pods, then sets up their network
// and the parts that depend on it.
func startNetwork(ctx context.Context, parts *components, c *config.Config, node nodeSettings, api *gate) error {
	if err := network.Masquerade(ctx, node.clusterCIDR); err != nil {
		return fault.Wrap(fault.CodeHostUnsupported, err, "the pods' network could not be set up", "install nftables and check the kernel with `k3s check-config`")
	}
	settings, err := clientcmd.BuildConfigFromFlags("", c.Path("agent", "kubelet.kubeconfig"))
	if err != nil {
		return err
	}
	settings.Dial = api.Dial
	client, err := clientset.NewForConfig(settings)
	if err != nil {
		return err
	}
	if err := api.Wait(ctx); err != nil {
		return nil
	}
	policies, err := startWatchers(parts, c, node)
	if err != nil {
		return err
	}
	var podCIDR string
	poll := func(until func(ready bool, podCIDR string) bool) error {
		return wait.PollUntilContextCancel(ctx, 2*readyPoll, true, func(ctx context.Context) (bool, error) {
			ready, pods, err := nodeState(ctx, client, node.identity.name)
			if err != nil {
				if !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err) {
					fmt.Fprintln(os.Stderr, "node:", err)
				}
				return false, nil
			}
			podCIDR = pods
			return until(ready, pods), nil
		})
	}
	registered := false
	if err := poll(func(_ bool, pods string) bool {
		if !registered {
			registered = true
			step.Report("kubelet", step.Ready)
			parts.Start("kube-proxy", func(ctx context.Context) error { return runProxy(ctx, c, node) })
		}
		return pods != ""
	}); err != nil {
		return nil
	}
	// No pod starts before the policies that may forbid what it does.
	select {
	case <-policies:
	case <-ctx.Done():
		return nil
	}
	if err := network.WriteConflist(network.ConfigFolder, podCIDR); err != nil {
		return err
	}
	step.Report("network", step.Ready)
	if err := poll(func(ready bool, _ string) bool { return ready }); err != nil {
		return nil
	}
	step.Report("node", step.Ready)
	parts.Chore("readings", func(ctx context.Context) error { return calmReadings(ctx, c) })
	return nil
}

// runProxy runs kube-proxy with nftables until the context ends.
func runProxy(ctx context.Context, c *config.Config, node nodeSettings) error {
	proxy := kubeproxy.NewOptions()
	set := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
	proxy.AddFlags(set)
	settings := map[string]string{
		"cluster-cidr":      node.clusterCIDR,
		"hostname-override": node.identity.name,
		"kubeconfig":        c.Path("agent", "kubeproxy.kubeconfig"),
		"proxy-mode":        "nftables",
		// Not for pods; an empty address would be the default one, which is
		// every address of the machine.
		"healthz-bind-address":              "127.0.0.1",
		"conntrack-max-per-core":            "0",
		"conntrack-tcp-timeout-established": "0s",
		"conntrack-tcp-timeout-close-wait":  "0s",
	}
	if err := parse("kube-proxy", set, settings, c.ProxyArgs); err != nil {
		return err
	}
	if err := proxy.Complete(set); err != nil {
		return fault.Wrap(fault.CodeConfigInvalid, err, "kube-proxy could not be set up", "check kube-proxy-arg in the configuration")
	}
	if err := proxy.Validate(); err != nil {
		return fault.Wrap(fault.CodeConfigInvalid, err, "kube-proxy could not be set up", "check kube-proxy-arg in the configuration")
	}
	// Its loop has no way out.
	return until(ctx, func() error { return proxy.Run(ctx) })
}
