package tests

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"alcove/kubernetes/internal/namespaces"
	"alcove/kubernetes/internal/needs"
	"alcove/kubernetes/internal/ocidir"
)

// nodeDeadline is how long two nodes on a slow machine may take.
const nodeDeadline = 5 * time.Minute

// TestASecondNodeJoinsAndRunsPods has a server and an agent, each with a
// network, mounts and pods of its own, on one bridge.
func TestASecondNodeJoinsAndRunsPods(t *testing.T) {
	if os.Getenv(insideNamespaces) == "" {
		t.Cleanup(func() {
			groups, _ := filepath.Glob("/sys/fs/cgroup/*/k3s-test")
			removeGroups(append(groups, "/sys/fs/cgroup/k3s-test")...)
		})
	}
	if !inNamespaces(t, "--net") {
		return
	}
	binary := os.Getenv("K3S_BINARY")
	for _, part := range []string{"containerd", "containerd-shim-runc-v2", "cni/ptp"} {
		beside(t, part)
	}
	pause := beside(t, "pause")
	for _, tool := range []string{"runc", "nft", "ip", "ss", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			needs.Skip(t, "%s is not installed", tool)
		}
	}
	folder := t.TempDir()
	recipe, err := ocidir.ReadRecipe("../../oci/pause/image.json")
	if err != nil {
		t.Fatal(err)
	}
	bundles := filepath.Join(folder, "oci")
	if err := os.MkdirAll(bundles, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := ocidir.Make(recipe, []string{filepath.Dir(pause)}, filepath.Join(bundles, "pause")); err != nil {
		t.Fatal(err)
	}
	namespaces.Shell(t, `mount -t tmpfs tmpfs /run
		ip link set lo up; ip link add br0 type bridge; ip link set br0 up
		for n in 1 2; do
			ip netns add node$n
			ip link add up$n type veth peer name eth0 netns node$n
			ip link set up$n master br0 up
			ip -n node$n addr add 192.168.77.1$n/24 dev eth0
			ip -n node$n link set lo up; ip -n node$n link set eth0 up
			ip -n node$n route add default via 192.168.77.1
		done`)
	// kubelets of one machine must not tidy up each other's pods.
	for _, name := range []string{"1", "2"} {
		makeGroup(t, "k3s-test/node"+name)
	}
	one := startNode(t, folder, "1", "", binary, "server", "--disable", "coredns", "--disable", "metrics-server", "--image-bundle-dir", bundles)
	kubeconfig := filepath.Join(folder, "1", "k3s.yaml")
	one.until(t, "alcove-step node ready", "alcove-step controllers ready")
	settings, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	settings.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		return namespaces.Within("node1", func() (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, network, address) })
	}
	client, err := kubernetes.NewForConfig(settings)
	if err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(folder, "1", "server", "node-token"))
	if err != nil {
		t.Fatal(err)
	}
	two := startNode(t, folder, "2", strings.TrimSpace(string(token)), binary, "agent", "--server", "https://192.168.77.11:6443", "--image-bundle-dir", bundles)
	two.until(t, "alcove-step node ready")

	ctx, cancel := context.WithTimeout(context.Background(), nodeDeadline)
	defer cancel()
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 2 {
		t.Fatalf("%d nodes, %v", len(nodes.Items), err)
	}
	address := map[string]string{}
	for _, node := range []string{"node1", "node2"} {
		none := int64(0)
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "on-" + node},
			Spec: corev1.PodSpec{NodeName: node, TerminationGracePeriodSeconds: &none, Containers: []corev1.Container{{
				Name: "pause", Image: recipe.Reference, ImagePullPolicy: corev1.PullNever,
			}}},
		}
		if _, err := client.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range []string{"node1", "node2"} {
		eventually(t, "no pod runs on "+node, func() bool {
			pod, err := client.CoreV1().Pods("default").Get(ctx, "on-"+node, metav1.GetOptions{})
			if err != nil {
				return false
			}
			address[node] = pod.Status.PodIP
			return pod.Status.Phase == corev1.PodRunning && pod.Status.PodIP != ""
		})
	}
	// Nobody listens there: a refusal comes from the pod itself, over the
	// routes of both nodes.
	for from, to := range map[string]string{"node1": address["node2"], "node2": address["node1"]} {
		eventually(t, "no way from "+from+" to "+to, func() bool {
			_, err := namespaces.Within(from, func() (net.Conn, error) { return net.DialTimeout("tcp", net.JoinHostPort(to, "9"), 2*time.Second) })
			return errors.Is(err, syscall.ECONNREFUSED)
		})
	}
	// The server reaches the kubelet of the other node.
	if _, err := client.CoreV1().Pods("default").GetLogs("on-node2", &corev1.PodLogOptions{}).DoRaw(ctx); err != nil {
		t.Error("logs of a pod on the second node:", err)
	}
	// What pods reach of a node: the API and the kubelet, and neither answers
	// who shows nothing.
	if ports := openPorts(t, "node1"); !slices.Equal(ports, []string{"10250", "6443"}) {
		t.Error("the server listens beyond loopback on", ports)
	}
	if ports := openPorts(t, "node2"); !slices.Equal(ports, []string{"10250"}) {
		t.Error("the agent listens beyond loopback on", ports)
	}
	stranger := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return namespaces.Within("node2", func() (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, network, address) })
		},
	}}
	for _, path := range []string{
		":6443/api", ":6443/metrics", ":6443/healthz", ":6443/debug/pprof/", ":6443/v1-k3s/config", ":10250/pods", ":10250/metrics", ":10250/debug/pprof/", ":10250/healthz",
	} {
		answer, err := stranger.Get("https://192.168.77.11" + path)
		if err != nil {
			t.Error(path, err)
			continue
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusUnauthorized {
			t.Error("a stranger is told", path, answer.Status)
		}
	}
}

// openPorts lists the ports of a network that are listened on beyond loopback.
func openPorts(t *testing.T, network string) []string {
	t.Helper()
	output, err := exec.Command("nsenter", "--net=/run/netns/"+network, "ss", "-Hltn").Output()
	if err != nil {
		t.Fatal(err)
	}
	ports := []string{}
	for line := range strings.Lines(string(output)) {
		local := strings.Fields(line)[3]
		colon := strings.LastIndexByte(local, ':')
		if address := local[:colon]; !strings.HasPrefix(address, "127.") && address != "[::1]" {
			ports = append(ports, local[colon+1:])
		}
	}
	slices.Sort(ports)
	return ports
}

// startNode runs a node in its network, with its own /run and folders.
func startNode(t *testing.T, folder, number, token, binary, applet string, more ...string) *plane {
	t.Helper()
	data := filepath.Join(folder, number)
	for _, part := range []string{"kubelet", "log", "agent/etc/containerd/containerd-config.d"} {
		if err := os.MkdirAll(filepath.Join(data, part), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// A container in a container may not raise anybody's standing.
	restricted := "version = 3\n[plugins.'io.containerd.cri.v1.runtime']\nrestrict_oom_score_adj = true\n"
	if err := os.WriteFile(filepath.Join(data, "agent/etc/containerd/containerd-config.d/test.toml"), []byte(restricted), 0o600); err != nil {
		t.Fatal(err)
	}
	arguments := append([]string{applet, "--config", "/dev/null", "--data-dir", data, "--node-name", "node" + number, "--node-ip", "192.168.77.1" + number,
		"--kubelet-arg=cgroup-root=/k3s-test/node" + number}, more...)
	if applet == "server" {
		arguments = append(arguments, "--write-kubeconfig", filepath.Join(data, "k3s.yaml"))
	}
	script := fmt.Sprintf(`mkdir -p /var/lib/kubelet /var/log/pods /var/log/containers
		mount --make-rprivate / && mount -t tmpfs tmpfs /run && mount --bind %[1]s/kubelet /var/lib/kubelet
		mount --bind %[1]s/log /var/log/pods && mount -t tmpfs tmpfs /var/log/containers && mount --make-rshared /
		echo nameserver 192.0.2.53 > /run/resolv.conf
		exec "$@"`, data)
	p := &plane{steps: make(chan string, 256), ended: make(chan struct{})}
	p.process = exec.Command("nsenter", append([]string{"--net=/run/netns/node" + number, "unshare", "--mount", "sh", "-ec", script, "node", binary}, arguments...)...)
	p.process.Env = append(os.Environ(), "K3S_TOKEN="+token, "K3S_RESOLV_CONF=/run/resolv.conf")
	out, err := p.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(data, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	p.process.Stderr = log
	if err := p.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.process.Process.Kill()
		<-p.ended
		if raw, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("node %s: ...%s", number, raw[max(0, len(raw)-8000):])
		}
	})
	go p.follow(out)
	return p
}

// makeGroup makes a control group, in every hierarchy where there are several.
func makeGroup(t *testing.T, name string) {
	t.Helper()
	roots := []string{"/sys/fs/cgroup"}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.procs"); err != nil {
		if roots, err = filepath.Glob("/sys/fs/cgroup/*"); err != nil {
			t.Fatal(err)
		}
	}
	for _, root := range roots {
		folder := root
		for _, part := range strings.Split(name, "/") {
			above := folder
			folder = filepath.Join(folder, part)
			if err := os.MkdirAll(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			// Processors are not inherited where they are a hierarchy of their own.
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				if raw, err := os.ReadFile(filepath.Join(above, file)); err == nil && strings.TrimSpace(string(raw)) != "" {
					os.WriteFile(filepath.Join(folder, file), raw, 0)
				}
			}
			if raw, err := os.ReadFile(filepath.Join(above, "cgroup.controllers")); err == nil && root == "/sys/fs/cgroup" {
				for _, controller := range strings.Fields(string(raw)) {
					os.WriteFile(filepath.Join(above, "cgroup.subtree_control"), []byte("+"+controller), 0)
				}
			}
		}
	}
}
