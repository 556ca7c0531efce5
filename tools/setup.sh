#!/usr/bin/env bash
# Makes .venv and installs what is asked for into it:  tools/setup.sh node|test
#
# node: ROS 2 and what the node needs. test: what training, tests and checks need besides.
# With a sourced ROS 2 (ROS_DISTRO is set and rclpy imports) that one is used; elsewhere ROS 2
# comes from PyPI: the distribution that ROS names, at first Jazzy, later the one that is there.
# A second run installs nothing: each list is remembered by its checksum.
set -euo pipefail
cd "$(dirname "$0")/.."

log=.venv/setup.log
fail() { echo "setup: $1" >&2; exit 2; }

check_machine() {
  command -v python3 >/dev/null || fail "python3 is missing; install it (Debian, Ubuntu: apt install python3 python3-venv)"
  local newest=13 # that ROS 2 on PyPI has wheels for
  if has_ros; then newest=14; fi
  python3 -c "import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, $newest))" ||
    fail "Python 3.10 to 3.$newest is needed, but python3 is $(python3 --version 2>&1 | cut -d' ' -f2); put another one first on the PATH"
  python3 -c 'import ensurepip, venv' 2>/dev/null ||
    fail "Python's venv is missing; install it (Debian, Ubuntu: apt install python3-venv)"
  command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null ||
    fail "a C++ compiler is missing, the messages need one; install it (Debian, Ubuntu: apt install g++)"
  [ "$(uname -m)" = x86_64 ] || has_ros ||
    fail "ROS 2 is on PyPI for x86-64 only; on $(uname -m) install and source a ROS 2 first (docs/jetson.md)"
  [ -z "${ROS_DISTRO:-}" ] || [ -n "${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ] || has_ros ||
    fail "ROS 2 $ROS_DISTRO is sourced, but $(command -v python3) cannot import its rclpy; leave conda or pyenv, or use a shell without ROS"
  ! has_ros || [[ $ROS_DISTRO =~ ^(humble|jazzy|kilted|lyrical)$ ]] ||
    fail "ROS 2 '$ROS_DISTRO' is sourced, but Humble, Jazzy, Kilted or Lyrical is needed"
  # colcon comes from PyPI only where ROS does.
  ! has_ros || command -v colcon >/dev/null ||
    fail "colcon is missing; install it (apt install python3-colcon-common-extensions)"
}

# A ROS 2 of the machine's own, sourced in this shell.
has_ros() { [ -n "${ROS_DISTRO:-}" ] && [ -z "${_ROS_WHEELS_BOOTSTRAP_COMPLETE:-}" ] && python3 -c 'import rclpy' 2>/dev/null; }

# Prints the distribution to install from PyPI.
wheels() {
  local there
  there=$(cat .venv/.ros_wheels 2>/dev/null || true)
  [ -z "$there" ] && [ -e .venv/.installed-ros ] && fail ".venv is of an older version; run 'make clean' first"
  local wanted=${ROS:-${there:-jazzy}}
  case $wanted in
    jazzy | kilted) ;;
    *) fail "ROS must be jazzy or kilted, which PyPI has, but is '$wanted'" ;;
  esac
  [ "$wanted" = "${there:-$wanted}" ] ||
    fail ".venv has ROS 2 $there; for $wanted run 'make clean' first, or use another clone"
  echo "$wanted"
}

make_venv() {
  [ -x .venv/bin/pip ] && return # the last that venv writes
  echo "setup: making .venv"
  local visible=
  mkdir -p .venv
  if has_ros; then
    visible=--system-site-packages # what pip adds must suit ROS's own packages
    echo "$ROS_DISTRO" > .venv/.ros_distro
  fi
  python3 -m venv $visible .venv || fail "python3 -m venv failed"
}

pip_install() { # pip_install WHAT ARGUMENTS...
  local what=$1; shift
  echo "setup: installing $what"
  PIP_DISABLE_PIP_VERSION_CHECK=1 _ROS_WHEELS_BOOTSTRAP_COMPLETE=1 \
    .venv/bin/python -m pip install --no-input "$@" >"$log" 2>&1 && return
  if grep -qiE 'name resolution|connection|timed out|network is unreachable|no route to host|from versions: none' "$log"; then
    fail "cannot reach the package index to install $what; check the network, then run the same command again (details: $log)"
  fi
  fail "installing $what failed: $(grep -iE '^error' "$log" | tail -1) (details: $log)"
}

once() { # once NAME FILE COMMAND...: run the command unless it ran for this content of the file
  local stamp=.venv/.installed-$1 sum
  sum=$(cksum < "$2"); shift 2
  [ "$(cat "$stamp" 2>/dev/null)" = "$sum" ] && return
  "$@"
  echo "$sum" > "$stamp"
}

install_ros() { # install_ros DISTRIBUTION
  echo "$1" > .venv/.ros_wheels
  pip_install "ROS 2 ${1^} from PyPI (about half a minute)" -r "requirements/ros-$1.txt" -r "$(node_list)"
  # The wheels' CMake files hold the include folders of the machine that built them.
  local python numpy
  python=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
  numpy=$(.venv/bin/python -c 'import numpy; print(numpy.get_include())')
  find .venv/share -name '*.cmake' -exec sed -Ei \
    -e "s#/opt/python/[^\";]*/site-packages/numpy/_core/include#$numpy#g" \
    -e "s#/opt/python/cp[^/\";]+/include/python[0-9.]+#$python#g" {} +
}

# Beside a ROS of the machine's own NumPy stays 1.x where it is that: ROS's messages are built against
# it. The last 1.x, since Ubuntu 22.04's 1.21 is older than what the rest asks for.
node_list() {
  [ -e .venv/.ros_distro ] || { echo requirements/node.txt; return; }
  local last=()
  .venv/bin/python -c 'import sys, numpy; sys.exit(numpy.__version__ >= "2")' &&
    last=(-e 's/^\(numpy==\)[^;]*/\11.26.4/' -e 's/^\(opencv-python-headless==\)[^;]*/\14.11.0.86/')
  # Both are one module.
  .venv/bin/python -m pip show -q onnxruntime-gpu 2>/dev/null && last+=(-e '/^onnxruntime==/d')
  sed -e '' "${last[@]}" requirements/node.txt > .venv/node.txt
  echo .venv/node.txt
}

# The pages of `esr report` are tested in a real browser: Chromium or Chrome, with its driver.
has_browser() {
  command -v chromedriver >/dev/null &&
    { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null
}

install_browser() {
  ! has_browser || return 0
  local missing="setup: Chromium or Chrome, with its chromedriver, is missing, so the tests of web pages will fail; install it (Debian: apt install chromium chromium-driver; Ubuntu: Chrome and the chromedriver of its version)"
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "$missing" >&2; return 0; }
  echo "setup: installing Chromium"
  local install="apt-get -o DPkg::Lock::Timeout=300 install --no-install-recommends -y chromium chromium-driver"
  export DEBIAN_FRONTEND=noninteractive
  $install >"$log" 2>&1 || { apt-get update && $install; } >"$log" 2>&1 || true
  has_browser || echo "$missing (details: $log)" >&2
}

check_machine
if has_ros; then
  [ "$(cat .venv/.ros_distro 2>/dev/null || echo "$ROS_DISTRO")" = "$ROS_DISTRO" ] ||
    fail ".venv is for ROS 2 $(cat .venv/.ros_distro), but $ROS_DISTRO is sourced; run 'make clean' first, or use another clone"
  [ ! -e .venv/.ros_wheels ] || fail ".venv has ROS 2 $(cat .venv/.ros_wheels) of PyPI, but ROS 2 $ROS_DISTRO is sourced; run 'make clean' first, or use another clone"
else
  distribution=$(wheels)
fi
make_venv
if [ ! -e .venv/.ros_distro ]; then once ros "requirements/ros-$distribution.txt" install_ros "$distribution"; fi
once node requirements/node.txt pip_install "what the node needs" -r "$(node_list)"
if [ "${1:-node}" = test ]; then
  once test requirements/test.txt pip_install "what training and tests need (PyTorch is large)" \
    -r requirements/test.txt -r "$(node_list)"
  for age in oldest newest; do
    once "$age" "requirements/onnxruntime-$age.txt" pip_install "the $age ONNX Runtime, for a test" \
      --no-deps --upgrade --target ".venv/onnxruntime/$age" -r "requirements/onnxruntime-$age.txt"
  done
  install_browser
fi
