#!/usr/bin/env bash
# Installs the wheel of esr_core into a new environment of every Python from 3.8 to 3.13 that is
# here (on the PATH or of pyenv), and runs it on a picture:  test/platforms/pythons.sh
#
# The oldest Python also gets the oldest dependencies that setup.py allows, the newest ONNX Runtime
# with OpenVINO.
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
picture=$PWD/docs/annotated.jpg
export PIP_DISABLE_PIP_VERSION_CHECK=1

cat > "$folder/run.py" <<'PYTHON'
import platform, sys
import cv2, numpy, onnxruntime
from esr_core import EmotionPipeline, PipelineOptions
rgb = cv2.cvtColor(cv2.imread(sys.argv[1]), cv2.COLOR_BGR2RGB)
pipeline = EmotionPipeline(PipelineOptions(provider=sys.argv[2]))
faces = pipeline.step(rgb, 0.0)
versions = f"NumPy {numpy.__version__}, ONNX Runtime {onnxruntime.__version__}, OpenCV {cv2.__version__}, {pipeline.model.provider}"
print(f"Python {platform.python_version()}, {versions}: ", end="")
print(", ".join(f"{face.label} {face.confidence:.4f}" for face in faces) or "no face")
PYTHON

try() { # try PYTHON NAME REQUIREMENTS...: install and run; prints one line
  local python=$1 place=$folder/$2
  shift 2
  "$python" -m venv "$place"
  "$place/bin/pip" install --quiet "$folder"/*.whl "$@" >"$folder/log" 2>&1 || { tail -5 "$folder/log"; return 1; }
  run "$(basename "$place")"
}

run() { # run NAME [PROVIDER]: recognise the picture
  (cd "$folder" && "$1/bin/esr" image "$picture" --json > image.json && "$1/bin/python" run.py "$picture" "${2:-auto}")
}

python3 -m pip wheel --quiet --no-deps --wheel-dir "$folder" . >"$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
lowest=$(sed -n '/install_requires/,/\]/s/.*"\([a-z-]*\)>=\([0-9.]*\).*/\1==\2.*/p' setup.py)
found=0
for version in 3.8 3.9 3.10 3.11 3.12 3.13; do
  python=$(command -v "$(echo "$HOME"/.pyenv/versions/$version.*/bin/python)" || command -v "python$version" || true)
  if [ -z "$python" ]; then echo "Python $version: not here"; continue; fi
  found=$((found + 1))
  try "$python" "$version"
  if [ "$version" = 3.8 ]; then try "$python" lowest $lowest; fi
  newest=$version
done
[ "$found" -gt 0 ]
"$folder/$newest/bin/pip" uninstall --quiet --yes onnxruntime
"$folder/$newest/bin/pip" install --quiet onnxruntime-openvino
run "$newest" openvino
