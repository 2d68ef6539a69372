package config

// Applet says which applets know a key.
type Applet int

// Applets that take configuration.
const (
	Server Applet = 1 << iota
	Agent
)

const both = Server | Agent

type kind int

const (
	text kind = iota
	boolean
	list
	number
)

// key is one setting: the same word in config.yaml and on the command line.
type key struct {
	name    string
	kind    kind
	applets Applet
	initial string
	usage   string
	short   string
	env     string
}

// keys are K3s's words, as far as this distribution has what they stand for.
var keys = []key{
	{name: "config", short: "c", kind: text, applets: both, initial: "/etc/rancher/k3s/config.yaml", env: "K3S_CONFIG_FILE", usage: "file with these keys"},
	{name: "debug", kind: boolean, applets: both, usage: "log more"},
	{name: "v", kind: number, applets: both, initial: "0", usage: "verbosity of the Kubernetes parts' log"},
	{name: "data-dir", short: "d", kind: text, applets: both, initial: "/var/lib/rancher/k3s", env: "K3S_DATA_DIR", usage: "folder that holds state"},
	{name: "token", short: "t", kind: text, applets: both, env: "K3S_TOKEN", usage: "shared secret that lets a node join"},
	{name: "token-file", kind: text, applets: both, env: "K3S_TOKEN_FILE", usage: "file that holds the token"},
	{name: "server", short: "s", kind: text, applets: both, env: "K3S_URL", usage: "server to join, as https://host:port"},

	{name: "bind-address", kind: text, applets: both, initial: "0.0.0.0", usage: "address that the API server listens on"},
	{name: "https-listen-port", kind: number, applets: Server, initial: "6443", usage: "port of the API server"},
	{name: "advertise-address", kind: text, applets: Server, usage: "address that the API server is known by inside the cluster"},
	{name: "tls-san", kind: list, applets: Server, usage: "further names or addresses in the API server's certificate"},
	{name: "cluster-cidr", kind: text, applets: Server, initial: "10.42.0.0/16", usage: "range of the pods' addresses"},
	{name: "service-cidr", kind: text, applets: Server, initial: "10.43.0.0/16", usage: "range of the services' addresses"},
	{name: "service-node-port-range", kind: text, applets: Server, initial: "30000-32767", usage: "ports for NodePort services"},
	{name: "cluster-dns", kind: text, applets: Server, usage: "address of the cluster's DNS (default: the tenth of service-cidr)"},
	{name: "cluster-domain", kind: text, applets: Server, initial: "cluster.local", usage: "domain of the cluster's names"},
	{name: "write-kubeconfig", short: "o", kind: text, applets: Server, initial: "/etc/rancher/k3s/k3s.yaml", env: "K3S_KUBECONFIG_OUTPUT", usage: "where the administrator's kubeconfig goes"},
	{name: "write-kubeconfig-mode", kind: text, applets: Server, initial: "0600", env: "K3S_KUBECONFIG_MODE", usage: "its file mode"},
	{name: "disable", kind: list, applets: Server, usage: "addons to leave out: coredns, metrics-server, local-storage, network-policy"},
	{name: "disable-agent", kind: boolean, applets: Server, usage: "run the control plane only"},
	{name: "disable-network-policy", kind: boolean, applets: Server, usage: "do not enforce NetworkPolicy"},
	{name: "kube-apiserver-arg", kind: list, applets: Server, usage: "further flag for kube-apiserver, as name=value"},
	{name: "kube-controller-manager-arg", kind: list, applets: Server, usage: "further flag for kube-controller-manager"},
	{name: "kube-scheduler-arg", kind: list, applets: Server, usage: "further flag for kube-scheduler"},
	{name: "datastore-endpoint", kind: text, applets: Server, env: "K3S_DATASTORE_ENDPOINT", usage: "sqlite (default) or the https:// addresses of an etcd"},
	{name: "datastore-cafile", kind: text, applets: Server, env: "K3S_DATASTORE_CAFILE", usage: "CA of the etcd"},
	{name: "datastore-certfile", kind: text, applets: Server, env: "K3S_DATASTORE_CERTFILE", usage: "client certificate for the etcd"},
	{name: "datastore-keyfile", kind: text, applets: Server, env: "K3S_DATASTORE_KEYFILE", usage: "client key for the etcd"},
	{name: "default-local-storage-path", kind: text, applets: Server, usage: "where local-path volumes live (default: DATA-DIR/storage)"},
	{name: "cluster-init", kind: boolean, applets: Server, usage: "refused: this distribution has no embedded etcd"},

	{name: "node-ip", short: "i", kind: list, applets: both, usage: "address of this node"},
	{name: "node-external-ip", kind: list, applets: both, usage: "address of this node as seen from outside"},
	{name: "node-name", kind: text, applets: both, env: "K3S_NODE_NAME", usage: "name of this node (default: host name)"},
	{name: "node-label", kind: list, applets: both, usage: "label that the node registers with"},
	{name: "node-taint", kind: list, applets: both, usage: "taint that the node registers with"},
	{name: "kubelet-arg", kind: list, applets: both, usage: "further flag for the kubelet"},
	{name: "kube-proxy-arg", kind: list, applets: both, usage: "further flag for kube-proxy"},
	{name: "snapshotter", kind: text, applets: both, initial: "overlayfs", usage: "containerd's snapshotter: overlayfs or native"},
	{name: "pause-image", kind: text, applets: both, initial: "alcove.local/pause:1", usage: "image of a pod's sandbox"},
	{name: "private-registry", kind: text, applets: both, initial: "/etc/rancher/k3s/registries.yaml", usage: "K3s's registries file"},
	{name: "resolv-conf", kind: text, applets: both, env: "K3S_RESOLV_CONF", usage: "resolv.conf that pods inherit"},
	{name: "image-bundle-dir", kind: text, applets: both, initial: "/usr/lib/alcove/oci", usage: "folder with unpacked images that are registered without a copy"},
}
