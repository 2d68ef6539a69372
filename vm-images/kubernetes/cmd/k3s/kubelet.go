package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	clientset "k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/util/taints"

	"alcove/kubernetes/internal/config"
	"alcove/kubernetes/internal/containerd"
	"alcove/kubernetes/internal/fault"
	"alcove/kubernetes/internal/network"
	"alcove/kubernetes/internal/quiet"
)

// How often containers' use is read. Every reading walks all groups, which is
// what keeps an idle node busy; but metrics-server has nothing to tell before
// the second one, so they come quickly at first.
const (
	readingsFlag    = "housekeeping-interval"
	readingsAtStart = 4 * time.Second
	readings        = 30 * time.Second
	readingsSettle  = 2 * time.Minute
)

// waitingWords are said ten times a second until the node is registered, each
// of them a line for the journal and for whoever follows it.
var waitingWords = []string{
	"Unable to register mirror pod because node is not registered yet",
	"Error getting the current node from lister",
}

const waitingSaid = 10 * time.Second

// nodeSettings are what a node needs to know about its cluster.
type nodeSettings struct {
	identity      identity
	server        string // the API, as https://host:port
	clusterCIDR   string
	clusterDNS    string
	clusterDomain string
	// serverNode says that the control plane runs in this process.
	serverNode bool
	policies   bool
}

func kubeletSettings(c *config.Config, node nodeSettings) (*options.KubeletFlags, *kubeletconfig.KubeletConfiguration, error) {
	flags := options.NewKubeletFlags()
	flags.HostnameOverride = node.identity.name
	flags.NodeIP = node.identity.address
	flags.KubeConfig = c.Path("agent", "kubelet.kubeconfig")
	flags.CertDirectory = c.Path("agent", "pki")
	flags.NodeLabels = map[string]string{"node.kubernetes.io/instance-type": "k3s"}
	for _, label := range c.NodeLabels {
		name, value, _ := strings.Cut(label, "=")
		flags.NodeLabels[name] = value
	}
	settings, err := options.NewKubeletConfiguration()
	if err != nil {
		return nil, nil, err
	}
	settings.Authentication.Anonymous.Enabled = false
	settings.Authentication.Webhook.Enabled = true
	settings.Authentication.X509.ClientCAFile = c.Path("agent", "client-ca.crt")
	settings.Authorization.Mode = kubeletconfig.KubeletAuthorizationModeWebhook
	settings.TLSCertFile = c.Path("agent", "serving-kubelet.crt")
	settings.TLSPrivateKeyFile = c.Path("agent", "serving-kubelet.key")
	settings.ReadOnlyPort = 0
	settings.HealthzPort = 0
	settings.ContainerRuntimeEndpoint = "unix://" + containerd.Socket
	settings.ImageServiceEndpoint = "unix://" + containerd.Socket
	settings.CgroupDriver = "cgroupfs"
	settings.ClusterDNS = []string{node.clusterDNS}
	settings.ClusterDomain = node.clusterDomain
	settings.ResolverConfig = resolvConf(c)
	settings.FailSwapOn = false
	settings.FailCgroupV1 = false
	settings.SerializeImagePulls = false
	settings.EnableProfilingHandler = false
	settings.EnableSystemLogHandler = false
	settings.EnableSystemLogQuery = false
	settings.VolumePluginDir = c.Path("agent", "kubelet-plugins", "volume", "exec")
	settings.StaticPodPath = ""
	settings.EventRecordQPS = 50
	settings.KubeAPIQPS, settings.KubeAPIBurst = 100, 200
	settings.ContainerLogMaxSize = "10Mi"
	settings.ContainerLogMaxFiles = 3
	settings.EvictionHard = map[string]string{
		"memory.available": "64Mi", "nodefs.available": "5%", "nodefs.inodesFree": "5%", "imagefs.available": "5%",
	}
	settings.EvictionMinimumReclaim = map[string]string{"nodefs.available": "5%", "imagefs.available": "5%"}
	for _, text := range c.NodeTaints {
		parsed, _, err := taints.ParseTaints([]string{text})
		if err != nil {
			return nil, nil, fault.Wrap(fault.CodeConfigInvalid, err, "node-taint "+text, "write it as key=value:NoSchedule")
		}
		settings.RegisterWithTaints = append(settings.RegisterWithTaints, parsed...)
	}
	set := pflag.NewFlagSet("kubelet", pflag.ContinueOnError)
	flags.AddFlags(set)
	options.AddKubeletConfigFlags(set, settings)
	options.AddGlobalFlags(set)
	// The owner's flags come last, over what is set above.
	ours := map[string]string{
		readingsFlag: readingsAtStart.String(),
	}
	if err := parse("kubelet", set, ours, c.KubeletArgs); err != nil {
		return nil, nil, err
	}
	return flags, settings, nil
}

// resolvConf chooses a file whose servers a pod can reach: a resolver on the
// node's loopback is not one of them.
func resolvConf(c *config.Config) string {
	if c.ResolvConf != "" {
		return c.ResolvConf
	}
	usable := func(path string) bool {
		raw, err := os.ReadFile(path)
		if err != nil {
			return false
		}
		found := false
		for _, line := range strings.Split(string(raw), "\n") {
			fields := strings.Fields(line)
			if len(fields) < 2 || fields[0] != "nameserver" {
				continue
			}
			ip := net.ParseIP(fields[1])
			if ip == nil || ip.IsLoopback() {
				return false
			}
			found = true
		}
		return found
	}
	for _, path := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		if usable(path) {
			return path
		}
	}
	// Pods without a resolver still find the cluster's own names.
	return ""
}

// runKubelet runs the kubelet until the context ends. Its clients wait at the
// gate, so it can get ready while the API server still starts.
func runKubelet(ctx context.Context, c *config.Config, node nodeSettings, api *gate) error {
	flags, settings, err := kubeletSettings(c, node)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(settings.VolumePluginDir, 0o700); err != nil {
		return err
	}
	if err := utilfeature.DefaultMutableFeatureGate.SetFromMap(settings.FeatureGates); err != nil {
		return err
	}
	server := &options.KubeletServer{KubeletFlags: *flags, KubeletConfiguration: *settings}
	dependencies, err := kubelet.UnsecuredDependencies(ctx, server, utilfeature.DefaultFeatureGate)
	if err != nil {
		return fault.Wrap(fault.CodeKubelet, err, "the kubelet could not be set up", "check kubelet-arg in the configuration")
	}
	base, err := clientcmd.BuildConfigFromFlags("", flags.KubeConfig)
	if err != nil {
		return err
	}
	base.Dial = api.Dial
	base.ContentType = "application/vnd.kubernetes.protobuf"
	base.QPS, base.Burst = float32(settings.KubeAPIQPS), int(settings.KubeAPIBurst)
	if dependencies.KubeClient, err = clientset.NewForConfig(rest.AddUserAgent(base, "kubelet")); err != nil {
		return err
	}
	events := rest.CopyConfig(base)
	events.QPS, events.Burst = float32(settings.EventRecordQPS), int(settings.EventBurst)
	if dependencies.EventClient, err = typedcorev1.NewForConfig(events); err != nil {
		return err
	}
	heartbeat := rest.CopyConfig(base)
	heartbeat.QPS = -1
	heartbeat.Timeout = min(settings.NodeStatusUpdateFrequency.Duration, time.Duration(settings.NodeLeaseDurationSeconds)*time.Second)
	if dependencies.HeartbeatClient, err = clientset.NewForConfig(heartbeat); err != nil {
		return err
	}
	dependencies.OnHeartbeatFailure = func() {}
	ctx = klog.NewContext(ctx, quiet.Logger(klog.FromContext(ctx), waitingSaid, waitingWords...))
	if err := kubelet.Run(ctx, server, dependencies, utilfeature.DefaultFeatureGate); err != nil {
		return fault.Wrap(fault.CodeKubelet, err, "the kubelet ended", "run `k3s check-config` to see whether this machine can run pods")
	}
	return nil
}

// calmReadings makes the readings rare some time after the node is ready,
// unless the owner has chosen how often they are to come. Their reader looks
// at the flag's value before each of them.
func calmReadings(ctx context.Context, c *config.Config) error {
	for _, argument := range c.KubeletArgs {
		if name, _, _ := strings.Cut(strings.TrimLeft(argument, "-"), "="); strings.ReplaceAll(name, "_", "-") == readingsFlag {
			return nil
		}
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(readingsSettle):
	}
	return flag.Set("housekeeping_interval", readings.String())
}

// nodeState says whether a node is ready, and for which pods' addresses.
func nodeState(ctx context.Context, client clientset.Interface, name string) (ready bool, podCIDR string, err error) {
	node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{ResourceVersion: "0"})
	if err != nil {
		return false, "", err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			ready = true
		}
	}
	return ready, node.Spec.PodCIDR, nil
}

func ensureFolders(c *config.Config) error {
	for _, folder := range []string{
		c.Path("agent", "containerd"), c.Path("agent", "etc", "containerd", "certs.d"),
		c.Path("agent", "images"), "/run/k3s", network.ConfigFolder,
	} {
		if err := os.MkdirAll(folder, 0o711); err != nil {
			return fault.Wrap(fault.CodePermission, err, "the node's folders could not be made", "a node needs root; a control plane alone runs with disable-agent")
		}
	}
	return nil
}

func cniFolders() []string {
	folders := []string{"/usr/lib/k3s/cni", "/opt/cni/bin"}
	if own, err := os.Executable(); err == nil {
		if resolved, err := filepath.EvalSymlinks(own); err == nil {
			folders = append([]string{filepath.Join(filepath.Dir(resolved), "cni")}, folders...)
		}
	}
	present := []string{}
	for _, folder := range folders {
		if info, err := os.Stat(folder); err == nil && info.IsDir() {
			present = append(present, folder)
		}
	}
	if len(present) == 0 {
		fmt.Fprintln(os.Stderr, "no network plugins are installed beside k3s")
		return folders
	}
	return present
}
