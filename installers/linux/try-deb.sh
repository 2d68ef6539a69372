#!/bin/sh
# Installs a package in a clean Debian 13, starts what it brought, removes it again, and looks at what is left:
# try-deb.sh FILE.deb
#
# Runs as root, and as an ordinary user where user namespaces are allowed. Nothing stays behind.
set -eu
deb=$1
if [ "$(id -u)" = 0 ]; then mode=root; else mode=unshare; fi
# The mirror that this computer uses itself, when it is a Debian.
mirror=$(apt-get indextargets --format '$(SITE)' 2>/dev/null | grep '/debian/*$' | sort -u | head -n 1)
mirror=${mirror:-http://deb.debian.org/debian}

try='
set -eu
cp "'"$deb"'" "$1/alcove.deb"
run() { root=$1; shift; chroot "$root" env HOME=/home/person DEBIAN_FRONTEND=noninteractive "$@"; }
say() { echo "==> $*"; }

say "installing with what it needs"
run "$1" apt-get install --yes --quiet --no-install-recommends /alcove.deb
run "$1" dpkg --audit
say "starting it"
run "$1" alcove --version
run "$1" alcove-desktop --version
if test -s "$1/usr/lib/alcove/kubectl"; then run "$1" /usr/lib/alcove/kubectl version --client; fi
say "what it says of this computer"
# 7 says that something is missing for a machine here; that it looks is what counts.
checked=0
run "$1" alcove doctor || checked=$?
case $checked in 0|7) ;; *) echo "alcove doctor ended with $checked"; exit 1 ;; esac
say "the supervisor, which the command finds and starts"
run "$1" alcove image list
if test -d "$1/usr/share/alcove/images"; then
  for image in "$1"/usr/share/alcove/images/*/; do
    run "$1" alcove image list --json | grep "\"folder\": \"/usr/share/alcove/images/$(basename "$image")\""
  done
  if run "$1" alcove image list | grep damaged; then echo "the image is not whole"; exit 1; fi
fi
run "$1" alcove status
run "$1" alcove status --json | grep "\"phase\": \"absent\""
process=$(run "$1" alcove version --json | sed -n "s/.*\"pid\": \([0-9]*\).*/\1/p")
test "$(run "$1" readlink "/proc/$process/exe")" = /usr/lib/alcove/alcoved
run "$1" alcove quit
ended=0
run "$1" alcove status || ended=$?
if test "$ended" != 5; then echo "the supervisor has not ended"; exit 1; fi
say "looking at it as a desktop does"
run "$1" test -s /usr/share/applications/alcove-desktop.desktop
run "$1" test -s /usr/share/icons/hicolor/48x48/apps/alcove.png
run "$1" test -s /usr/share/man/man1/alcove.1.gz
say "libraries"
for program in /usr/bin/alcove /usr/bin/alcove-desktop /usr/lib/alcove/alcoved; do
  if run "$1" ldd "$program" | grep "not found"; then echo "$program lacks libraries"; exit 1; fi
done
gone() {
  for left in /usr/bin/alcove /usr/lib/alcove /usr/share/alcove /usr/share/doc/alcove; do
    if test -e "$1$left"; then echo "$left is still there"; exit 1; fi
  done
  test "$(cat "$1/home/person/.local/share/alcove/machines/default/machine.json")" = kept
}
mkdir -p "$1/home/person/.local/share/alcove/machines/default"
echo kept > "$1/home/person/.local/share/alcove/machines/default/machine.json"
say "removing it; what people made stays"
run "$1" apt-get remove --yes --quiet alcove
gone "$1"
say "purging it; what people made stays"
run "$1" apt-get install --yes --quiet --no-install-recommends /alcove.deb
run "$1" apt-get purge --yes --quiet alcove
gone "$1"
say "installed, started, removed and purged"
'
exec mmdebstrap --mode="$mode" --variant=apt --architectures=amd64 --format=null \
  --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
  --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "5"' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook="$try" \
  trixie /dev/null "deb $mirror trixie main"
