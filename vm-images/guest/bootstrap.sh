#!/bin/sh
# Makes the Debian tree that the guest image is cut from: bootstrap.sh OUT.tar MIRROR SECURITY_MIRROR PACKAGE...
#
# Runs as root, and as an ordinary user where user namespaces are allowed. The kernel's package is unpacked, not
# installed: it would want an initramfs, and ours is made otherwise.
set -eu
out=$1 mirror=$2 security=$3
shift 3
include=$(echo "$*" | tr ' ' ',')
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
if [ "$(id -u)" = 0 ]; then mode=root; else mode=unshare; fi

kernel='
set -eu
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
image=$(apt-cache depends linux-image-cloud-amd64 | sed -n "s/.*Depends: \(linux-image-[0-9][^ ]*\).*/\1/p" | head -n 1)
test -n "$image"
mkdir -p "$1/boot/kernel"
cd "$1/boot/kernel"
apt-get -o APT::Sandbox::User=root download "$image"
dpkg-deb -x ./*.deb "$1"
dpkg-deb --showformat "\${Package} \${Version}\n" -W ./*.deb > "$1/boot/kernel-package"
rm -r "$1/boot/kernel"
'
exec mmdebstrap --mode="$mode" --variant=apt --architectures=amd64 --format=tar \
    --keyring="$keyring" \
    --aptopt='APT::Install-Recommends "false"' \
    --aptopt='Acquire::Retries "5"' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --include="$include" \
    --customize-hook="$kernel" \
    trixie "$out" \
    "deb $mirror trixie main" \
    "deb $mirror trixie-updates main" \
    "deb $security trixie-security main"
