#!/bin/sh
# Installs the system libraries that MediaPipe loads at import, where apt-get can: libraries.sh PYTHON
# It loads EGL, OpenGL and GLib even where no screen is; Debian and Ubuntu leave those out of small images.
set -eu
check='from mediapipe.tasks.python.text import TextClassifier'
! "$1" -c "$check" 2>/dev/null || exit 0
sudo=$(command -v sudo || true)
if command -v apt-get >/dev/null && { [ -n "$sudo" ] || [ "$(id -u)" = 0 ]; }; then
    $sudo apt-get update -q
    $sudo apt-get install -qy --no-install-recommends \
        libegl1 libgles2 libgl1 libglib2.0-0 libxcb1 libx11-6
fi
"$1" -c "$check" || {
    echo "MediaPipe does not import: install libEGL, libGLESv2, libGL and GLib for this system" >&2
    exit 1
}
