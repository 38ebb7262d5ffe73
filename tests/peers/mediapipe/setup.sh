#!/bin/sh
# Makes MediaPipe's environment: setup.sh PYTHON FOLDER
# MediaPipe needs absl-py 2, our own environment absl-py 1, hence two. It loads EGL, OpenGL and GLib at
# import even where no screen is; Debian and Ubuntu leave those out of small images.
set -eu
"$1" -m venv "$2"
"$2/bin/python" -m pip install -r "$(dirname "$0")/requirements.txt"
check='from mediapipe.tasks.python.text import TextClassifier'
if ! "$2/bin/python" -c "$check" 2>/dev/null && command -v apt-get >/dev/null; then
    sudo=$(command -v sudo || true)
    $sudo apt-get update -q
    $sudo apt-get install -qy --no-install-recommends \
        libegl1 libgles2 libgl1 libglib2.0-0 libxcb1 libx11-6
fi
"$2/bin/python" -c "$check" || {
    echo "MediaPipe does not import: install libEGL, libGLESv2, libGL and GLib for this system" >&2
    exit 1
}
