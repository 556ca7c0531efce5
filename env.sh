# Open the project's environment in this shell:  source env.sh   (bash or zsh)
# ROS 2, this package, `emotion_node` and `esr` are on the paths afterwards.

if [ -n "${ZSH_VERSION:-}" ]; then
  _esr_root=$(builtin cd -q "$(dirname "${(%):-%x}")" >/dev/null && pwd) _esr_shell=zsh
else
  _esr_root=$(CDPATH='' builtin cd -- "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd) _esr_shell=bash
fi

if [ ! -x "$_esr_root/.venv/bin/python" ]; then
  echo "env.sh: there is no environment yet; run 'make setup' in $_esr_root first" >&2
  return 1 2>/dev/null || exit 1
fi

_esr_distro=$(cat "$_esr_root/.venv/.ros_distro" 2>/dev/null || true)
if [ "${_esr_distro:-${ROS_DISTRO:-}}" != "${ROS_DISTRO:-}" ]; then
  echo "env.sh: source ROS first (source /opt/ros/$_esr_distro/setup.bash); this environment builds on it" >&2
  return 1 2>/dev/null || exit 1
fi

if [ "${_ESR_ENV:-}" != "$_esr_root" ]; then
  export VIRTUAL_ENV="$_esr_root/.venv"
  export PATH="$VIRTUAL_ENV/bin:$PATH"
  if [ ! -e "$VIRTUAL_ENV/.ros_distro" ]; then
    # ROS 2 from wheels. They find their libraries by restarting every Python once; with the
    # path set here they need not.
    ROS_DISTRO=$(cat "$VIRTUAL_ENV/.ros_wheels")
    export ROS_DISTRO ROS_VERSION=2 ROS_PYTHON_VERSION=3
    export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
    _esr_site=$("$VIRTUAL_ENV/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    _esr_libs=$(printf '%s:' "$VIRTUAL_ENV/lib" "$_esr_site"/ros_*.libs)
    export LD_LIBRARY_PATH="${_esr_libs%:}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    export AMENT_PREFIX_PATH="$VIRTUAL_ENV${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}"
    export CMAKE_PREFIX_PATH="$VIRTUAL_ENV${CMAKE_PREFIX_PATH:+:$CMAKE_PREFIX_PATH}"
  fi
  if [ -e "$_esr_root/install/local_setup.$_esr_shell" ]; then
    . "$_esr_root/install/local_setup.$_esr_shell"
    export PATH="$_esr_root/install/esr_ros/lib/esr_ros:$PATH"
    export _ESR_ENV="$_esr_root"
  fi
  # As the launch file does: by default Fast DDS loses large images, and finds others late.
  if [ "$ROS_DISTRO" != humble ]; then # it does not know this value
    export FASTDDS_BUILTIN_TRANSPORTS="${FASTDDS_BUILTIN_TRANSPORTS:-DEFAULT?sockets_size=8MB}"
  fi
  _esr_profile="$_esr_root/install/esr_ros/share/esr_ros/config/fastdds.xml"
  case $ROS_DISTRO in
    humble|iron|jazzy) export FASTRTPS_DEFAULT_PROFILES_FILE="${FASTRTPS_DEFAULT_PROFILES_FILE:-$_esr_profile}" ;;
    *) export FASTDDS_DEFAULT_PROFILES_FILE="${FASTDDS_DEFAULT_PROFILES_FILE:-$_esr_profile}" ;;
  esac
fi
unset _esr_profile _esr_distro _esr_root _esr_shell _esr_site _esr_libs
