package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"alcove/kubernetes/internal/fault"
	"alcove/kubernetes/internal/pki"
)

// choreFlags are what the chores share.
func choreFlags(name string, arguments []string) (folder string, rest []string, err error) {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.StringVarP(&folder, "data-dir", "d", "/var/lib/rancher/k3s", "folder that holds state")
	if err := flags.Parse(arguments); err != nil {
		return "", nil, fault.Wrap(fault.CodeConfigInvalid, err, "the command line is not understood", "see `k3s --help`")
	}
	return folder, flags.Args(), nil
}

// tokenApplet shows or replaces the joining secret.
func tokenApplet(arguments []string) error {
	folder, words, err := choreFlags("token", arguments)
	if err != nil {
		return err
	}
	server := filepath.Join(folder, "server")
	raw, err := os.ReadFile(filepath.Join(server, "token"))
	if err != nil {
		return fault.Wrap(fault.CodeToken, err, "no token can be read", "start the server once, and run this as root")
	}
	switch {
	case len(words) == 1 && words[0] == "print":
		fmt.Print(string(raw))
		return nil
	case len(words) == 1 && words[0] == "rotate":
		token, err := pki.ParseToken(string(raw))
		if err != nil {
			return err
		}
		secret := make([]byte, 16)
		if _, err := rand.Read(secret); err != nil {
			return err
		}
		token.Secret = hex.EncodeToString(secret)
		if err := pki.SaveToken(server, token); err != nil {
			return err
		}
		fmt.Println("the token is replaced; restart the server for it to be asked for. Nodes that have joined stay.")
		return nil
	}
	return fault.New(fault.CodeConfigInvalid, "token takes print or rotate", "")
}

// certificateApplet lists certificates, or removes those that a start makes
// anew.
func certificateApplet(arguments []string) error {
	folder, words, err := choreFlags("certificate", arguments)
	if err != nil {
		return err
	}
	if len(words) != 1 || (words[0] != "check" && words[0] != "rotate") {
		return fault.New(fault.CodeConfigInvalid, "certificate takes check or rotate", "")
	}
	files := []string{}
	for _, place := range []string{filepath.Join(folder, "server", "tls"), filepath.Join(folder, "agent")} {
		found, err := filepath.Glob(filepath.Join(place, "*.crt"))
		if err != nil {
			return err
		}
		files = append(files, found...)
	}
	sort.Strings(files)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return fault.Wrap(fault.CodePermission, err, "a certificate cannot be read", "run this as root")
		}
		certificate, err := pki.ParseCertificate(raw)
		if err != nil {
			fmt.Printf("%s\tunreadable: %v\n", file, err)
			continue
		}
		if words[0] == "check" {
			state := "ok"
			if !certificate.IsCA && pki.NeedsRenewal(certificate) {
				state = "due"
			}
			fmt.Printf("%s\t%s\t%s\t%s\n", file, certificate.Subject.CommonName, certificate.NotAfter.Format(time.DateOnly), state)
			continue
		}
		if certificate.IsCA {
			continue
		}
		for _, part := range []string{file, strings.TrimSuffix(file, ".crt") + ".key"} {
			if err := os.Remove(part); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fault.Wrap(fault.CodePermission, err, "a certificate cannot be removed", "run this as root")
			}
		}
	}
	if words[0] == "rotate" {
		fmt.Println("the certificates are removed; the next start of k3s makes new ones.")
	}
	return nil
}

// killAll ends every pod of this machine and takes away what they leave.
func killAll(arguments []string) error {
	if _, _, err := choreFlags("kill-all", arguments); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return fault.New(fault.CodePermission, "pods can only be ended by root", "")
	}
	ended := 0
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		raw, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "comm"))
		if err != nil || !strings.HasPrefix(string(raw), "containerd-shim") {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err != nil || !strings.Contains(string(line), "/run/k3s/containerd") {
			continue
		}
		pid := 0
		if _, err := fmt.Sscan(entry.Name(), &pid); err != nil {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err == nil {
			ended++
		}
	}
	// The kernel ends what is left in the pods' groups.
	for _, group := range []string{"/sys/fs/cgroup/kubepods/cgroup.kill", "/sys/fs/cgroup/kubepods.slice/cgroup.kill"} {
		if err := os.WriteFile(group, []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			fmt.Fprintln(os.Stderr, "kill-all:", err)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	lines := strings.Split(string(mounts), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		fields := strings.Fields(lines[i])
		if len(fields) < 2 {
			continue
		}
		place := strings.ReplaceAll(fields[1], `\040`, " ")
		for _, prefix := range []string{"/run/k3s/", "/var/lib/kubelet/pods/", "/run/netns/cni-"} {
			if strings.HasPrefix(place, prefix) {
				if err := unix.Unmount(place, unix.MNT_DETACH); err != nil {
					fmt.Fprintf(os.Stderr, "kill-all: %s: %v\n", place, err)
				}
			}
		}
	}
	for _, table := range []string{"alcove-policy", "alcove-network", "kube-proxy"} {
		// A table that is not there is as wanted.
		exec.Command("nft", "delete", "table", "ip", table).Run()
	}
	if err := os.RemoveAll("/run/k3s/cni"); err != nil {
		return err
	}
	fmt.Printf("%d pods ended\n", ended)
	return nil
}

// checkConfig tells whether this machine can run a node.
func checkConfig(arguments []string) error {
	if _, _, err := choreFlags("check-config", arguments); err != nil {
		return err
	}
	failures := 0
	check := func(what string, ok bool, hint string) {
		if ok {
			fmt.Printf("ok       %s\n", what)
			return
		}
		failures++
		fmt.Printf("missing  %s: %s\n", what, hint)
	}
	var stat unix.Statfs_t
	check("cgroup v2", unix.Statfs("/sys/fs/cgroup", &stat) == nil && stat.Type == unix.CGROUP2_SUPER_MAGIC, "boot with systemd.unified_cgroup_hierarchy=1")
	controllers, _ := os.ReadFile("/sys/fs/cgroup/cgroup.controllers")
	for _, controller := range []string{"cpu", "cpuset", "memory", "pids", "io"} {
		check("cgroup controller "+controller, strings.Contains(" "+strings.TrimSpace(string(controllers))+" ", " "+controller+" "), "the kernel has it switched off")
	}
	systems, _ := os.ReadFile("/proc/filesystems")
	overlay := strings.Contains(string(systems), "overlay") || exec.Command("modprobe", "-n", "overlay").Run() == nil
	check("file system overlay", overlay, "load the module overlay")
	for _, program := range []string{"nft", "runc", "mount", "modprobe"} {
		_, err := exec.LookPath(program)
		check("program "+program, err == nil, "install its package")
	}
	check("nf_tables", exec.Command("nft", "list", "tables").Run() == nil, "the kernel needs nf_tables, and this check needs root")
	if failures > 0 {
		return fault.New(fault.CodeHostUnsupported, fmt.Sprintf("%d things are missing for a node", failures), "each line above says what to do")
	}
	return nil
}
