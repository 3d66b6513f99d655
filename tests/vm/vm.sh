#!/bin/bash
# Runs a script as root on a throw-away Linux machine with cgroup v2 and all its
# controllers, Landlock, AppArmor and PSI, on hosts that lack them or have no KVM:
# a User-Mode Linux kernel. Never measure speed in it.
#
#   vm.sh kernel            build the kernel once (about 5 minutes on 2 cores, 12 MB)
#   vm.sh run SCRIPT        boot with SCRIPT as the only service (1-2 s)
#   vm.sh systemd SCRIPT    boot with systemd, SCRIPT as a service of it (3-4 s)
#
# The machine's / is the host's own, read-only, below a tmpfs: every program that
# is installed is there, and nothing that the machine writes gets out. /tmp, /run
# and /dev/shm are empty. The exit status is the script's; 98: the machine died.
#
# Environment: MEM=2G  LIMIT=900 (seconds)  UPPER=1500m (tmpfs)  CMDLINE= (the
# kernel's)  VM_CACHE=/var/tmp/mcp-gateway-vm
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${VM_CACHE:-/var/tmp/mcp-gateway-vm}
# From Debian's trixie-backports; User-Mode kernels before 7 lack the fast seccomp
# mode, and panic on newer processors.
source_package=linux-source-7.3

# A private apt tree, so that the host's own package sources stay as they are.
backports() {
  local tree=$cache/apt mirror
  mkdir -p "$tree/lists/partial" "$tree/cache/archives/partial"
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' | grep -v security | head -n 1)
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie-backports main" >"$tree/sources.list"
  apt-get -o Dir::Etc::SourceList="$tree/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$tree/lists" -o Dir::Cache="$tree/cache" "$@"
}

fetch_source() { # into the current folder
  backports update -qq
  backports download -qq "$source_package"
  dpkg-deb --fsys-tarfile ./*.deb | tar -xOf - --wildcards './usr/src/linux-source-*.tar.xz' | tar -xJf -
  rm ./*.deb
}

build_kernel() {
  local hash work=$cache/build
  hash=$(cat "$here/kernel.config" <(echo "$source_package") | sha256sum | cut -c1-16)
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock 9 # another run may be building it
  if [ ! -x "$cache/linux-$hash" ]; then
    echo "building a User-Mode Linux kernel into $cache (once, about 5 minutes)"
    command -v apt-get >/dev/null || { echo "the kernel's source is a Debian package: build it on Debian or Ubuntu, or run the tests on a real cgroup v2 machine" >&2; exit 1; }
    apt-get install -y -qq --no-install-recommends gcc make flex bison bc libelf-dev xz-utils libc6-dev >/dev/null
    rm -rf "$work"
    mkdir -p "$work/out"
    cd "$work"
    fetch_source
    cd linux-source-*
    make -s ARCH=um O="$work/out" tinyconfig >/dev/null
    (cd "$work/out" && "$OLDPWD/scripts/kconfig/merge_config.sh" -m .config "$here/kernel.config" >/dev/null)
    make -s ARCH=um O="$work/out" olddefconfig
    make -s ARCH=um O="$work/out" -j"$(nproc)" linux
    strip -s -o "$cache/linux-$hash" "$work/out/linux"
    cd "$cache"
    rm -rf "$work"
  fi
  ln -sf "linux-$hash" "$cache/linux"
  exec 9>&-
}

write_init() {
  cat >"$cache/init.$$" <<'INIT'
#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/go/bin HOME=/root
off() { echo o >/proc/sysrq-trigger; sleep 9; }
mount -t tmpfs -o "mode=755,size=$VM_UPPER" upper /mnt && mkdir /mnt/u /mnt/w /mnt/n &&
  mount -t overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w,xino=off root /mnt/n || { echo "VM-STATUS 97"; mount -t proc p /proc; off; }
cd /mnt/n; mkdir -p old; pivot_root . old; cd /
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run; mount -t tmpfs -o mode=1777 tmp /tmp
mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup /sys/fs/cgroup
mount -t securityfs security /sys/kernel/security
umount -l /old/mnt /old; ip link set lo up
if [ "$VM_INIT" = systemd ]; then
  umount /dev/shm /dev/pts; mkdir -p /etc/systemd/system; cp "$VM_SCRIPT" /etc/vm-script; : >/etc/fstab
  printf '[Unit]\nRequires=basic.target vm.service\nAfter=basic.target\nAllowIsolate=yes\n' >/etc/systemd/system/vm.target
  cat >/etc/systemd/system/vm.service <<UNIT
[Unit]
After=basic.target dbus.socket
Wants=dbus.socket
[Service]
Type=oneshot
TimeoutStartSec=infinity
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
WorkingDirectory=$VM_DIR
Environment=HOME=/root PATH=$PATH
ExecStart=/bin/bash -c 'bash /etc/vm-script; echo "VM-STATUS \$\$?"'
ExecStopPost=/bin/sh -c 'sync; echo o > /proc/sysrq-trigger'
Delegate=yes
UNIT
  for u in timesyncd networkd resolved udevd udev-trigger journal-flush tmpfiles-setup-dev hwdb-update firstboot sysusers update-utmp random-seed binfmt pstore; do
    ln -sf /dev/null "/etc/systemd/system/systemd-$u.service"
  done
  for u in apparmor ldconfig e2scrub_reap kmod-static-nodes; do ln -sf /dev/null "/etc/systemd/system/$u.service"; done
  mount --make-rshared / # as on any host: a unit's credentials are mounted elsewhere first
  exec /lib/systemd/systemd --unit=vm.target --show-status=0 --log-level=warning
fi
# Leave the root group, so that its controllers can be handed down.
mkdir /sys/fs/cgroup/init; echo $$ >/sys/fs/cgroup/init/cgroup.procs
for c in memory pids cpu cpuset io; do echo "+$c" >/sys/fs/cgroup/cgroup.subtree_control; done 2>/dev/null
cd "$VM_DIR"; bash "$VM_SCRIPT"; echo "VM-STATUS $?"; off
INIT
  chmod 755 "$cache/init.$$"
  mv "$cache/init.$$" "$cache/init" # other machines may be booting with it
}

# The machine has an empty /tmp and /run: a checkout that lies there is copied.
leave_tmp() {
  case $PWD/ in /tmp/* | /run/* | /dev/shm/*) ;; *) return ;; esac
  local copy=$cache/checkout.$$
  trap 'rm -rf "$cache/checkout.$$"' EXIT
  mkdir -p "$copy"
  tar -cf - --exclude=./.git --exclude=./.run --exclude=node_modules . | tar -xf - -C "$copy"
  cd "$copy"
}

boot() { # $1 kind of init, $2 script
  local status=98 line script
  build_kernel
  write_init
  leave_tmp
  script=$(readlink -f "$2")
  while IFS= read -r line || [ -n "$line" ]; do
    line=${line%$'\r'}
    case $line in
    *"VM-STATUS "[0-9]*) status=${line##*VM-STATUS }; status=${status%%[!0-9]*} ;;
    "Failed to initialize ubd"* | "sysrq: Power"* | "reboot: Power"* | "Memory cgroup out of memory"*) ;;
    *) printf '%s\n' "$line" ;;
    esac
  done < <(timeout -k 5 "${LIMIT:-900}" "$cache/linux" mem="${MEM:-2G}" rootfstype=hostfs rootflags=/ ro init="$cache/init" \
    con=null con0=null,fd:1 ssl=null quiet seccomp=on lsm=landlock,yama,apparmor,bpf \
    VM_UPPER="${UPPER:-1500m}" VM_INIT="$1" VM_SCRIPT="$script" VM_DIR="$PWD" ${CMDLINE:-} </dev/null 2>&1)
  return "$status"
}

case ${1:-} in
kernel) build_kernel ;;
run) boot sh "$2" ;;
systemd) boot systemd "$2" ;;
*) sed -n 2,18p "$0"; exit 2 ;;
esac
