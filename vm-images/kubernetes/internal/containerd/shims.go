package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ShimGroup is the control group of the shims, beside that of the pods.
const ShimGroup = "/k3s-shims"

const cgroupMount = "/sys/fs/cgroup"

// PrepareShimGroup makes the shims' control group and gives its name. Without
// it a shim is born into the group of our own service, and whatever kills that
// group (systemctl kill, a watchdog, memory running out) takes the shims
// along: the next containerd then ends every pod whose shim is dead. Where the
// control groups are not the unified ones the name is empty.
func PrepareShimGroup() (string, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(cgroupMount, &stat); err != nil {
		return "", fmt.Errorf("control groups: %w", err)
	}
	if stat.Type != unix.CGROUP2_SUPER_MAGIC {
		return "", nil
	}
	if err := os.Mkdir(filepath.Join(cgroupMount, ShimGroup), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("the shims' control group: %w", err)
	}
	return ShimGroup, nil
}
