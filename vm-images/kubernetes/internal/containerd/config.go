// Package containerd configures, starts and watches containerd.
package containerd

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Places of a node's container runtime.
const (
	StateFolder = "/run/k3s/containerd"
	Socket      = "/run/k3s/containerd/containerd.sock"
)

// Settings say how containerd is to run.
type Settings struct {
	DataFolder  string // agent/
	Snapshotter string
	PauseImage  string
	CNIBinaries []string
	CNIConfig   string
	Runc        string
	ShimGroup   string // the shims' control group; empty leaves them in ours
}

func quoted(words []string) string {
	parts := make([]string, len(words))
	for i, word := range words {
		parts[i] = strconv.Quote(word)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// Render writes containerd's configuration.
//
// Pods' cgroups are made directly (SystemdCgroup = false): the way over
// systemd costs a D-Bus round trip and a transient unit for every pod and
// container, which an emulated CPU feels, and gives nothing in a guest whose
// only workload they are.
//
// A shim that does not answer in time counts as dead, and its pod is ended. On
// an emulated CPU that also starts Kubernetes, containerd's own five seconds
// are soon over.
func Render(s Settings) string {
	return fmt.Sprintf(`# Written at every start; a file containerd-config.d/*.toml beside it adds to it.
version = 3
root = %q
state = %q
imports = [%q]

[grpc]
  address = %q

[timeouts]
  'io.containerd.timeout.shim.load' = '60s'
  'io.containerd.timeout.shim.cleanup' = '60s'

[plugins.'io.containerd.cri.v1.images']
  snapshotter = %q
  discard_unpacked_layers = true
  # Statistics of image layers are read when the kubelet asks; collecting them
  # all the time would keep an idle machine busy.
  stats_collect_period = 60

  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = %q

  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = %q

[plugins.'io.containerd.cri.v1.runtime']
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  enable_criu = false

  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = 'runc'

    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = 'io.containerd.runc.v2'

      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = %q
        SystemdCgroup = false
        ShimCgroup = %q

  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = %s
    conf_dir = %q
    use_internal_loopback = true

[plugins.'io.containerd.nri.v1.nri']
  disable = true

[plugins.'io.containerd.internal.v1.opt']
  path = %q
`,
		filepath.Join(s.DataFolder, "containerd"), StateFolder,
		filepath.Join(s.DataFolder, "etc", "containerd", "containerd-config.d", "*.toml"),
		Socket, s.Snapshotter, s.PauseImage,
		filepath.Join(s.DataFolder, "etc", "containerd", "certs.d"),
		s.Runc, s.ShimGroup, quoted(s.CNIBinaries), s.CNIConfig,
		filepath.Join(s.DataFolder, "containerd", "opt"))
}
