package images

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"

	"alcove/kubernetes/internal/containerd"
)

var archiveEndings = []string{".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.bz2"}

func isArchive(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	for _, ending := range archiveEndings {
		if strings.HasSuffix(name, ending) {
			return true
		}
	}
	return false
}

// ImportArchives imports every archive of a folder that has not been imported
// yet in its present form. It returns how many were imported.
func ImportArchives(ctx context.Context, folder, snapshotter string) (int, error) {
	entries, err := os.ReadDir(folder)
	if os.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	names := []string{}
	for _, entry := range entries {
		if entry.Type().IsRegular() && isArchive(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	if len(names) == 0 {
		return 0, nil
	}
	sort.Strings(names)
	ctr, err := containerd.Find("ctr")
	if err != nil {
		return 0, err
	}
	imported := 0
	var failures []string
	for _, name := range names {
		path := filepath.Join(folder, name)
		info, err := os.Stat(path)
		if err != nil {
			failures = append(failures, err.Error())
			continue
		}
		stamp := fmt.Sprintf("%d %d\n", info.Size(), info.ModTime().UnixNano())
		stampFile := filepath.Join(folder, "."+name+".imported")
		if raw, err := os.ReadFile(stampFile); err == nil && string(raw) == stamp {
			continue
		}
		command := exec.CommandContext(ctx, ctr, "--address", containerd.Socket, "--namespace", namespace,
			"images", "import", "--snapshotter", snapshotter, path)
		if output, err := command.CombinedOutput(); err != nil {
			failures = append(failures, fmt.Sprintf("%s: %v: %s", path, err, strings.TrimSpace(string(output))))
			continue
		}
		if err := os.WriteFile(stampFile, []byte(stamp), 0o600); err != nil {
			failures = append(failures, err.Error())
			continue
		}
		imported++
	}
	if len(failures) > 0 {
		return imported, fmt.Errorf("%s", strings.Join(failures, "; "))
	}
	return imported, nil
}
