#!/usr/bin/env bash
# Installs the wheel of esr_core in an emulated Debian for 64-bit Arm, with the versions that a Jetson
# with JetPack 6 gets, and compares its answers with this machine's:  test/platforms/arm64.sh [valid.npz.xz]
#
# Needs root, x86-64 and a Debian or Ubuntu. The system stays in build/arm64; the first run makes it.
# Nothing can be said here about speed, and nothing about rclpy, which has no packages for this Debian.
set -euo pipefail
cd "$(dirname "$0")/../.."

skip() { echo "test-arm64: SKIPPED, nothing was tested: $1"; exit 0; }
[ "$(uname -m)" = x86_64 ] || skip "it compares with x86-64, and this machine is $(uname -m)"
[ "$(id -u)" = 0 ] || skip "it needs root, to install and enter another system"
command -v apt-get >/dev/null || skip "it needs the packages of Debian or Ubuntu"
# Mounts in a namespace of this script: they end with it, however it ends.
[ -n "${ESR_ARM64:-}" ] || ESR_ARM64=1 exec unshare --mount --propagation private test/platforms/arm64.sh "$@"

versions=(numpy==1.26.4 opencv-python-headless==4.11.0.86 onnxruntime==1.23.2)
system=$PWD/build/arm64 pip=(pip install --quiet --disable-pip-version-check --no-input)
missing=$(for tool in qemu-aarch64-static mmdebstrap arch-test update-binfmts; do
  command -v "$tool" >/dev/null || echo "$tool"; done)
if [ -n "$missing" ]; then
  echo "test-arm64: installing qemu and mmdebstrap"
  DEBIAN_FRONTEND=noninteractive apt-get install --no-install-recommends -y \
    qemu-user-static mmdebstrap arch-test binfmt-support >/dev/null
fi
[ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
update-binfmts --enable qemu-aarch64

if [ ! -x "$system/venv/bin/pip" ]; then
  echo "test-arm64: making a Debian for arm64 in build/arm64 (about ten minutes)"
  rm -rf "$system" && mkdir -p build
  mmdebstrap --quiet --arch=arm64 --variant=minbase --include=python3,python3-venv,ca-certificates,libgomp1 \
    bookworm "$system"
fi
mount --rbind /dev "$system/dev"
mount -t proc proc "$system/proc"
mount -t sysfs sysfs "$system/sys" # ONNX Runtime 1.23 aborts where it cannot read the processors
cp -L /etc/resolv.conf "$system/etc/resolv.conf"
cp -L /etc/ssl/certs/ca-certificates.crt "$system/etc/ssl/certs/ca-certificates.crt"
arm() { # arm COMMAND...: run it in the emulated system
  chroot "$system" /usr/bin/env -i HOME=/root PATH=/venv/bin:/usr/bin:/bin LC_ALL=C.UTF-8 \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt QEMU_CPU="${cpu:-max}" \
    PYTHONPATH=/check/python AMENT_PREFIX_PATH=/check "$@"
}
[ -x "$system/venv/bin/pip" ] || arm python3 -m venv /venv

check=$system/check
rm -rf "$check" && mkdir "$check"
cp test/platforms/answers.py "$check"
python test/platforms/answers.py prepare "$check" "$@"
python -m pip wheel --quiet --no-deps --wheel-dir "$check" .
wheel=$(cd "$check" && echo esr_core-*.whl)

echo "test-arm64: installing the wheel (on Arm some minutes)"
python -m venv --clear build/x86-64
build/x86-64/bin/"${pip[@]}" "$check/$wheel[bags]" "${versions[@]}"
arm "${pip[@]}" "/check/$wheel[bags]" "${versions[@]}"
arm "${pip[@]}" --force-reinstall --no-deps "/check/$wheel"
arm pip check

pictures=(annotated.jpg astronaut.png)
echo "test-arm64: x86-64"
(cd "$check" && export PYTHONPATH=$check/python AMENT_PREFIX_PATH=$check &&
  python=$OLDPWD/build/x86-64/bin && "$python/esr" image "${pictures[@]}" --json > x86-64.json &&
  "$python/python" answers.py answer . x86-64.npz)
for cpu in cortex-a57 cortex-a76; do # of the TX2; near Orin's, with dot products
  echo "test-arm64: $cpu, against x86-64"
  arm esr image "${pictures[@]/#//check/}" --json > "$check/$cpu.json"
  arm python /check/answers.py answer /check "/check/$cpu.npz"
  build/x86-64/bin/python "$check/answers.py" compare "$check/x86-64.npz" "$check/$cpu.npz"
  for machine in x86-64 "$cpu"; do grep -o '"label": "[a-z]*"' "$check/$machine.json" > "$check/$machine.labels"; done
  cmp "$check/x86-64.labels" "$check/$cpu.labels"
done
echo "test-arm64: passed on $(date +%F)"
