package tests

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"alcove/kubernetes/internal/containerd"
	"alcove/kubernetes/internal/images"
	"alcove/kubernetes/internal/namespaces"
	"alcove/kubernetes/internal/needs"
	"alcove/kubernetes/internal/ocidir"
)

// insideNamespaces says that the process has mounts and process numbers of its
// own, which end with it.
const insideNamespaces = "K3S_TEST_INSIDE"

// inNamespaces runs the calling test again as root of its own namespaces.
func inNamespaces(t *testing.T, kinds ...string) (inside bool) {
	t.Helper()
	if os.Getenv(insideNamespaces) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		needs.Skip(t, "needs root")
	}
	arguments := append(kinds, "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
		os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
	if output, err := exec.Command("unshare", append(kinds, "--mount", "true")...).CombinedOutput(); err != nil {
		needs.Skip(t, "namespaces can't be made here: %v %s", err, output)
	}
	again := exec.Command("unshare", arguments...)
	again.Env = append(os.Environ(), insideNamespaces+"=yes", "K3S_BINARY="+program(t))
	output, err := again.CombinedOutput()
	t.Log(string(output))
	if strings.Contains(string(output), "--- SKIP") {
		t.Skip("see above")
	}
	if err != nil {
		t.Fatal(err)
	}
	return false
}

// beside finds a program that was built beside the one under test.
func beside(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(os.Getenv("K3S_BINARY")), name)
	if _, err := os.Stat(path); err != nil {
		needs.Skip(t, "%s is not built: K3S_BINARY names a k3s that build.sh has made", name)
	}
	return path
}

// runcHere is runc, or a script before it that leaves out what a machine lacks
// whose control groups are still those of version one.
func runcHere(t *testing.T, folder string) string {
	t.Helper()
	runc, err := exec.LookPath("runc")
	if err != nil {
		needs.Skip(t, "runc is not installed")
	}
	if raw, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers"); err == nil && strings.Contains(string(raw), "cpu") {
		return runc
	}
	script := filepath.Join(folder, "runc")
	content := "#!/bin/sh\n[ -e config.json ] && sed -i 's/\"cpu\":{\"shares\":[0-9]*}/\"cpu\":{}/' config.json\nexec " + runc + " \"$@\"\n"
	if err := os.WriteFile(script, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return script
}

// TestPodsOutliveTheGroupOfTheirService kills every process of the group that
// containerd was started in, as `systemctl kill` does with a service's, and
// starts containerd anew.
func TestPodsOutliveTheGroupOfTheirService(t *testing.T) {
	if !inNamespaces(t) {
		return
	}
	binary, pause := beside(t, "containerd"), beside(t, "pause")
	namespaces.Shell(t, "mount -t tmpfs tmpfs /run")
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.procs"); err != nil {
		namespaces.Shell(t, "mount -t cgroup2 none /sys/fs/cgroup")
	}
	folder := t.TempDir()
	for _, part := range []string{"image", "recipe", "etc", "agent/etc/containerd/containerd-config.d", "agent/etc/cni/net.d"} {
		if err := os.MkdirAll(filepath.Join(folder, part), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	recipe, err := ocidir.ReadRecipe("../../oci/pause/image.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ocidir.Make(recipe, []string{filepath.Dir(pause)}, filepath.Join(folder, "oci", "pause")); err != nil {
		t.Fatal(err)
	}
	group, err := containerd.PrepareShimGroup()
	if err != nil || group == "" {
		t.Fatal("no group for the shims:", err)
	}
	config := filepath.Join(folder, "config.toml")
	content := containerd.Render(containerd.Settings{
		DataFolder: filepath.Join(folder, "agent"), Snapshotter: "overlayfs", PauseImage: recipe.Reference,
		CNIConfig: filepath.Join(folder, "agent/etc/cni/net.d"), Runc: runcHere(t, folder), ShimGroup: group,
	})
	for file, content := range map[string]string{
		config: content,
		// A container in a container may not raise anybody's standing.
		filepath.Join(folder, "agent/etc/containerd/containerd-config.d/test.toml"): "version = 3\n[plugins.'io.containerd.cri.v1.runtime']\nrestrict_oom_score_adj = true\n",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const service = "/sys/fs/cgroup/k3s-test-service"
	namespaces.Shell(t, "mkdir -p "+service)
	t.Cleanup(func() { removeGroups(service, "/sys/fs/cgroup/k3s-test-pods", "/sys/fs/cgroup"+group) })
	log, err := os.Create(filepath.Join(folder, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if raw, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Log(string(raw))
		}
	})
	serve := func() (*exec.Cmd, cri.RuntimeServiceClient) {
		t.Helper()
		process := exec.Command("sh", "-c", "echo $$ > "+service+"/cgroup.procs; exec "+binary+" --config "+config)
		process.Env = append(os.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
		process.Stdout, process.Stderr = log, log
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		connection, err := containerd.Connect(ctx)
		if err != nil {
			t.Fatal(err)
		}
		bundles, problems := images.Bundles(filepath.Join(folder, "oci"))
		if len(bundles) != 1 || len(problems) > 0 {
			t.Fatal(bundles, problems)
		}
		if err := images.NewRegistrar(connection, "overlayfs").Register(ctx, bundles[0]); err != nil {
			t.Fatal(err)
		}
		return process, cri.NewRuntimeServiceClient(connection)
	}
	process, runtime := serve()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	started, err := runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: "kept", Namespace: "default", Uid: "kept"}, LogDirectory: folder,
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent:    "/k3s-test-pods",
			SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE}},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range members(t, service) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(pid, err)
		}
	}
	process.Wait()
	if err := os.Remove(containerd.Socket); err != nil {
		t.Fatal(err)
	}
	process, runtime = serve()
	defer process.Process.Kill()
	status, err := runtime.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: started.PodSandboxId})
	if err != nil || status.Status.State != cri.PodSandboxState_SANDBOX_READY {
		t.Errorf("the pod did not outlive its service: %v %v", status.GetStatus().GetState(), err)
	}
	if _, err := runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: started.PodSandboxId}); err != nil {
		t.Error(err)
	}
}

func members(t *testing.T, group string) []int {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	pids := []int{}
	for _, word := range strings.Fields(string(raw)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if len(pids) == 0 {
		t.Fatal("nothing runs in ", group)
	}
	return pids
}

// removeGroups ends what is left in groups and takes them away.
func removeGroups(groups ...string) {
	for _, group := range groups {
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			os.WriteFile(filepath.Join(group, "cgroup.kill"), []byte("1"), 0)
			folders := []string{}
			filepath.WalkDir(group, func(path string, entry os.DirEntry, err error) error {
				if err == nil && entry.IsDir() {
					folders = append(folders, path)
				}
				return nil
			})
			for i := len(folders) - 1; i >= 0; i-- {
				syscall.Rmdir(folders[i])
			}
			if _, err := os.Stat(group); err != nil {
				break
			}
		}
	}
}
