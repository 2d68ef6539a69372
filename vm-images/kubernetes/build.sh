#!/bin/sh
# Builds Kubernetes and its parts from their Go modules:
#
#   build.sh OUT_DIR
#
# OUT_DIR then holds k3s, kubectl, containerd, containerd-shim-runc-v2, ctr,
# cni/, coredns, metrics-server and pause. Go's build cache makes a second run
# quick; nothing but the Go module proxy is asked. KUBERNETES_JOBS sets how
# many packages are compiled at once (default 2).
set -eu

if [ $# -ne 1 ]; then
	echo "usage: build.sh OUT_DIR" >&2
	exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/cni"
out=$(cd "$1" && pwd)
jobs=${KUBERNETES_JOBS:-2}
# The same flags for every build and test: other ones would fill a second
# cache with another copy of Kubernetes.
export GOFLAGS="-trimpath -buildvcs=false"

kubernetes=v1.36.3
release="$kubernetes+alcove1"
# The commit and tree state are what a release of Kubernetes carries; the date
# is fixed, so that the same sources give the same binary.
stamp="-X k8s.io/component-base/version.gitVersion=$release
	-X k8s.io/component-base/version.gitMajor=1
	-X k8s.io/component-base/version.gitMinor=36
	-X k8s.io/component-base/version.gitTreeState=clean
	-X k8s.io/component-base/version.buildDate=2026-01-01T00:00:00Z
	-X k8s.io/client-go/pkg/version.gitVersion=$release
	-X alcove/kubernetes/internal/release.Version=$release"

# go_build NAME FOLDER LDFLAGS CGO TAGS PACKAGE
go_build() {
	echo "==> building $1"
	(cd "$here/$2" && CGO_ENABLED=$4 go build -p "$jobs" -tags "$5" \
		-ldflags "-s -w $3" -o "$out/$1" "$6")
}

go_build k3s . "$stamp" 1 "" ./cmd/k3s
go_build kubectl . "$stamp" 0 "" ./cmd/kubectl
go_build containerd containerd "-X github.com/containerd/containerd/v2/version.Version=2.4.2" 0 "" ./cmd/containerd
go_build containerd-shim-runc-v2 containerd "-X github.com/containerd/containerd/v2/version.Version=2.4.2" 0 "" ./cmd/containerd-shim-runc-v2
go_build ctr containerd "-X github.com/containerd/containerd/v2/version.Version=2.4.2" 0 "" ./cmd/ctr
for plugin in main/ptp main/loopback ipam/host-local meta/portmap; do
	go_build "cni/${plugin#*/}" cni "-X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=v1.9.1" 0 "" \
		"github.com/containernetworking/plugins/plugins/$plugin"
done
go_build coredns coredns "-X github.com/coredns/coredns/coremain.GitCommit=modules" 0 "" .
go_build metrics-server metrics-server "" 0 "" .
echo "==> building pause"
${CC:-cc} -Os -static -s -Wall -Wextra -o "$out/pause" "$here/../oci/pause/pause.c"
