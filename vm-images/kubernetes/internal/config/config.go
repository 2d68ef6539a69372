// Package config reads what K3s reads: /etc/rancher/k3s/config.yaml, the
// files of config.yaml.d beside it, the environment and the command line.
// The later of these wins; a list given on the command line replaces the
// file's.
package config

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"alcove/kubernetes/internal/fault"
)

// Addons that `disable` may name.
var Addons = []string{"coredns", "metrics-server", "local-storage", "network-policy"}

// Parts of K3s that this distribution never starts: naming them in `disable`
// is accepted, so that a K3s configuration moves over unchanged.
var neverStarted = map[string]bool{"traefik": true, "servicelb": true, "runtimes": true}

// Config is a complete, checked configuration.
type Config struct {
	values map[string][]string

	DataDir         string
	Token           string
	ServerURL       string
	BindAddress     string
	Port            int
	Advertise       string
	SANs            []string
	ClusterCIDR     string
	ServiceCIDR     string
	NodePortRange   string
	ClusterDNS      string
	ClusterDomain   string
	Kubeconfig      string
	KubeconfigMode  os.FileMode
	Disabled        map[string]bool
	DisableAgent    bool
	APIServerArgs   []string
	ControllerArgs  []string
	SchedulerArgs   []string
	KubeletArgs     []string
	ProxyArgs       []string
	Datastore       string
	DatastoreCA     string
	DatastoreCert   string
	DatastoreKey    string
	LocalStorage    string
	NodeIP          string
	NodeExternalIPs []string
	NodeName        string
	NodeLabels      []string
	NodeTaints      []string
	Snapshotter     string
	PauseImage      string
	Registries      string
	ResolvConf      string
	ImageBundles    string
	Verbosity       int
}

// Flags makes the flag set of an applet, for parsing and for --help.
func Flags(applet Applet) *pflag.FlagSet {
	flags := pflag.NewFlagSet("k3s", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.Usage = func() {}
	for _, k := range keys {
		if k.applets&applet == 0 {
			continue
		}
		switch k.kind {
		case boolean:
			flags.BoolP(k.name, k.short, k.initial == "true", k.usage)
		case list:
			flags.StringArrayP(k.name, k.short, nil, k.usage)
		case number:
			initial, _ := strconv.Atoi(k.initial)
			flags.IntP(k.name, k.short, initial, k.usage)
		default:
			flags.StringP(k.name, k.short, k.initial, k.usage)
		}
	}
	return flags
}

// Load reads the configuration of an applet from its arguments, the
// environment and the file that they name.
func Load(applet Applet, arguments []string, environment func(string) string) (*Config, error) {
	flags := Flags(applet)
	if err := flags.Parse(arguments); err != nil {
		if err == pflag.ErrHelp {
			return nil, err
		}
		return nil, fault.Wrap(fault.CodeConfigInvalid, err, "the command line is not understood", "see `k3s server --help`")
	}
	if flags.NArg() > 0 {
		return nil, fault.New(fault.CodeConfigInvalid, fmt.Sprintf("unexpected argument %q", flags.Arg(0)), "options start with two dashes")
	}
	values := map[string][]string{}
	for _, k := range keys {
		if k.applets&applet == 0 {
			continue
		}
		if k.initial != "" {
			values[k.name] = []string{k.initial}
		}
	}
	path := flags.Lookup("config").Value.String()
	if from := environment("K3S_CONFIG_FILE"); from != "" && !flags.Changed("config") {
		path = from
	}
	fromFiles, err := readFiles(path, applet, flags.Changed("config"))
	if err != nil {
		return nil, err
	}
	for name, value := range fromFiles {
		values[name] = value
	}
	for _, k := range keys {
		if k.applets&applet == 0 {
			continue
		}
		if k.env != "" {
			if value := environment(k.env); value != "" {
				values[k.name] = []string{value}
			}
		}
		if !flags.Changed(k.name) {
			continue
		}
		if k.kind == list {
			value, err := flags.GetStringArray(k.name)
			if err != nil {
				return nil, fault.Wrap(fault.CodeConfigInvalid, err, k.name, "")
			}
			values[k.name] = value
			continue
		}
		values[k.name] = []string{flags.Lookup(k.name).Value.String()}
	}
	return build(values)
}

func lookup(name string, applet Applet) (key, bool, bool) {
	for _, k := range keys {
		if k.name == name {
			return k, true, k.applets&applet != 0
		}
	}
	return key{}, false, false
}

func readFiles(path string, applet Applet, mustExist bool) (map[string][]string, error) {
	values := map[string][]string{}
	files := []string{path}
	dropIns, err := filepath.Glob(filepath.Join(path+".d", "*.yaml"))
	if err != nil {
		return nil, fault.Wrap(fault.CodeConfigInvalid, err, "cannot list "+path+".d", "")
	}
	more, err := filepath.Glob(filepath.Join(path+".d", "*.yml"))
	if err != nil {
		return nil, fault.Wrap(fault.CodeConfigInvalid, err, "cannot list "+path+".d", "")
	}
	dropIns = append(dropIns, more...)
	sort.Strings(dropIns)
	files = append(files, dropIns...)
	for i, file := range files {
		raw, err := os.ReadFile(file)
		if os.IsNotExist(err) && (i > 0 || !mustExist) {
			continue
		}
		if err != nil {
			return nil, fault.Wrap(fault.CodeConfigInvalid, err, "cannot read the configuration", "check the path given by --config")
		}
		if err := merge(values, file, raw, applet); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func merge(values map[string][]string, file string, raw []byte, applet Applet) error {
	var content map[string]any
	if err := yaml.Unmarshal(raw, &content); err != nil {
		return fault.Wrap(fault.CodeConfigInvalid, err, file+" is not valid YAML", "it holds one key and its value a line")
	}
	for name, value := range content {
		// A trailing plus appends to what an earlier file said, as in K3s.
		bare := strings.TrimSuffix(name, "+")
		k, known, here := lookup(bare, applet)
		if !known {
			return fault.New(fault.CodeConfigInvalid, fmt.Sprintf("%s: unknown key %q", file, name), "see `k3s server --help` for the known ones")
		}
		if !here {
			return fault.New(fault.CodeConfigInvalid, fmt.Sprintf("%s: key %q does not belong to this role", file, name), "it is a server's key: leave it out on an agent")
		}
		words, err := asWords(value, k.kind)
		if err != nil {
			return fault.Wrap(fault.CodeConfigInvalid, err, fmt.Sprintf("%s: key %q", file, name), "")
		}
		if bare != name {
			if k.kind != list {
				return fault.New(fault.CodeConfigInvalid, fmt.Sprintf("%s: key %q cannot be appended to", file, bare), "only lists take a trailing plus")
			}
			words = append(append([]string{}, values[bare]...), words...)
		}
		values[bare] = words
	}
	return nil
}

func asWords(value any, k kind) ([]string, error) {
	scalar := func(v any) (string, error) {
		switch typed := v.(type) {
		case string:
			return typed, nil
		case bool:
			return strconv.FormatBool(typed), nil
		case float64:
			return strconv.FormatFloat(typed, 'f', -1, 64), nil
		}
		return "", fmt.Errorf("a value of type %T is not understood", v)
	}
	if items, ok := value.([]any); ok {
		if k != list {
			return nil, fmt.Errorf("it takes one value, not a list")
		}
		words := []string{}
		for _, item := range items {
			word, err := scalar(item)
			if err != nil {
				return nil, err
			}
			words = append(words, word)
		}
		return words, nil
	}
	word, err := scalar(value)
	if err != nil {
		return nil, err
	}
	switch k {
	case boolean:
		if _, err := strconv.ParseBool(word); err != nil {
			return nil, fmt.Errorf("%q is neither true nor false", word)
		}
	case number:
		if _, err := strconv.Atoi(word); err != nil {
			return nil, fmt.Errorf("%q is not a number", word)
		}
	}
	return []string{word}, nil
}

func build(values map[string][]string) (*Config, error) {
	one := func(name string) string {
		if v := values[name]; len(v) > 0 {
			return v[len(v)-1]
		}
		return ""
	}
	flag := func(name string) bool { v, _ := strconv.ParseBool(one(name)); return v }
	// K3s splits the values of these lists at commas.
	split := func(name string) []string {
		words := []string{}
		for _, value := range values[name] {
			for _, word := range strings.Split(value, ",") {
				if word = strings.TrimSpace(word); word != "" {
					words = append(words, word)
				}
			}
		}
		return words
	}
	bad := func(message, hint string) error { return fault.New(fault.CodeConfigInvalid, message, hint) }

	if flag("cluster-init") {
		return nil, fault.New(fault.CodeUnsupported, "cluster-init asks for an embedded etcd, which this distribution does not have", "leave it out to use SQLite, or give an etcd by datastore-endpoint")
	}
	c := &Config{
		values: values, DataDir: one("data-dir"), Token: one("token"), ServerURL: strings.TrimSuffix(one("server"), "/"),
		BindAddress: one("bind-address"), Advertise: one("advertise-address"), SANs: split("tls-san"),
		ClusterCIDR: one("cluster-cidr"), ServiceCIDR: one("service-cidr"), NodePortRange: one("service-node-port-range"),
		ClusterDNS: one("cluster-dns"), ClusterDomain: one("cluster-domain"), Kubeconfig: one("write-kubeconfig"),
		Disabled: map[string]bool{}, DisableAgent: flag("disable-agent"),
		APIServerArgs: values["kube-apiserver-arg"], ControllerArgs: values["kube-controller-manager-arg"],
		SchedulerArgs: values["kube-scheduler-arg"], KubeletArgs: values["kubelet-arg"], ProxyArgs: values["kube-proxy-arg"],
		Datastore: one("datastore-endpoint"), DatastoreCA: one("datastore-cafile"), DatastoreCert: one("datastore-certfile"), DatastoreKey: one("datastore-keyfile"),
		LocalStorage: one("default-local-storage-path"), NodeExternalIPs: split("node-external-ip"), NodeName: strings.ToLower(one("node-name")),
		NodeLabels: split("node-label"), NodeTaints: split("node-taint"), Snapshotter: one("snapshotter"), PauseImage: one("pause-image"),
		Registries: one("private-registry"), ResolvConf: one("resolv-conf"), ImageBundles: one("image-bundle-dir"),
	}
	absolute, err := filepath.Abs(c.DataDir)
	if err != nil {
		return nil, fault.Wrap(fault.CodeConfigInvalid, err, "data-dir", "give an absolute path")
	}
	c.DataDir = absolute
	c.Verbosity, _ = strconv.Atoi(one("v"))
	if flag("debug") && c.Verbosity < 4 {
		c.Verbosity = 4
	}
	if file := one("token-file"); file != "" && c.Token == "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fault.Wrap(fault.CodeToken, err, "cannot read token-file", "it holds the token on one line")
		}
		c.Token = strings.TrimSpace(string(raw))
	}
	if c.Port, err = strconv.Atoi(one("https-listen-port")); one("https-listen-port") != "" && (err != nil || c.Port < 1 || c.Port > 65535) {
		return nil, bad(fmt.Sprintf("https-listen-port %q is not a port", one("https-listen-port")), "use a number from 1 to 65535")
	}
	if mode := one("write-kubeconfig-mode"); mode != "" {
		bits, err := strconv.ParseUint(mode, 8, 32)
		if err != nil || bits > 0o777 {
			return nil, bad(fmt.Sprintf("write-kubeconfig-mode %q is not a file mode", mode), "write it in octal and in quotes, such as \"0600\"")
		}
		c.KubeconfigMode = os.FileMode(bits)
	}
	for _, addon := range split("disable") {
		if neverStarted[addon] {
			continue
		}
		known := false
		for _, name := range Addons {
			known = known || name == addon
		}
		if !known {
			return nil, bad(fmt.Sprintf("disable names %q, which is no addon", addon), "the addons are "+strings.Join(Addons, ", "))
		}
		c.Disabled[addon] = true
	}
	if flag("disable-network-policy") {
		c.Disabled["network-policy"] = true
	}
	if addresses := split("node-ip"); len(addresses) > 1 {
		return nil, fault.New(fault.CodeUnsupported, "node-ip names more than one address", "dual stack is not supported: give one IPv4 address")
	} else if len(addresses) == 1 {
		c.NodeIP = addresses[0]
	}
	for name, address := range map[string]string{"bind-address": c.BindAddress, "advertise-address": c.Advertise, "node-ip": c.NodeIP, "cluster-dns": c.ClusterDNS} {
		if address != "" && net.ParseIP(address) == nil {
			return nil, bad(fmt.Sprintf("%s %q is not an IP address", name, address), "")
		}
	}
	if c.Snapshotter != "overlayfs" && c.Snapshotter != "native" {
		return nil, fault.New(fault.CodeUnsupported, fmt.Sprintf("snapshotter %q is not built in", c.Snapshotter), "use overlayfs or native")
	}
	if c.LocalStorage == "" {
		c.LocalStorage = filepath.Join(c.DataDir, "storage")
	}
	if err := c.networks(); err != nil {
		return nil, err
	}
	return c, nil
}

// networks checks the ranges and derives the DNS address.
func (c *Config) networks() error {
	for name, text := range map[string]string{"cluster-cidr": c.ClusterCIDR, "service-cidr": c.ServiceCIDR} {
		if text == "" {
			continue
		}
		address, _, err := net.ParseCIDR(text)
		if err != nil || address.To4() == nil {
			return fault.New(fault.CodeConfigInvalid, fmt.Sprintf("%s %q is not an IPv4 range", name, text), "write it like 10.42.0.0/16")
		}
	}
	if c.ServiceCIDR == "" {
		return nil
	}
	_, services, err := net.ParseCIDR(c.ServiceCIDR)
	if err != nil {
		return fault.Wrap(fault.CodeConfigInvalid, err, "service-cidr", "")
	}
	if c.ClusterDNS == "" {
		c.ClusterDNS = nth(services, 10)
	}
	if _, pods, err := net.ParseCIDR(c.ClusterCIDR); err == nil && (pods.Contains(services.IP) || services.Contains(pods.IP)) {
		return fault.New(fault.CodeConfigInvalid, "cluster-cidr and service-cidr overlap", "give them separate ranges")
	}
	return nil
}

func nth(network *net.IPNet, offset byte) string {
	ip := append(net.IP{}, network.IP.To4()...)
	ip[3] += offset
	return ip.String()
}

// APIServiceIP is the first address of the services' range.
func (c *Config) APIServiceIP() string {
	_, services, err := net.ParseCIDR(c.ServiceCIDR)
	if err != nil {
		return ""
	}
	return nth(services, 1)
}

// Embedded says whether the cluster's store is the built-in SQLite.
func (c *Config) Embedded() bool {
	return c.Datastore == "" || c.Datastore == "sqlite" || strings.HasPrefix(c.Datastore, "sqlite://")
}

// Path joins a name below the data folder.
func (c *Config) Path(parts ...string) string {
	return filepath.Join(append([]string{c.DataDir}, parts...)...)
}
