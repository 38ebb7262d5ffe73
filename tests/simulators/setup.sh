#!/bin/sh
# Installs adb, sshd and Chromium for the tests with devices and with a browser, if apt-get can. With the
# Vulkan loader, Chromium's SwiftShader runs LiteRT's GPU accelerator.
# If it cannot, it says so and exits with 0: those tests are then skipped with their reason.
set -eu
command -v apt-get >/dev/null || {
    echo "no apt-get: install adb, sshd and Chromium yourself for the tests that need them"
    exit 0
}
sudo=$(command -v sudo || true)
[ -n "$sudo" ] || [ "$(id -u)" = 0 ] || {
    echo "neither root nor sudo: install adb, sshd and Chromium yourself for the tests that need them"
    exit 0
}
packages=""
command -v adb >/dev/null || packages="$packages adb"
[ -x /usr/sbin/sshd ] || packages="$packages openssh-server"
browser=""
for name in chromium-headless-shell chromium google-chrome; do
    ! command -v "$name" >/dev/null || browser=$name
done
[ -n "$browser" ] || packages="$packages chromium-headless-shell"
ldconfig -p | grep -q libvulkan.so.1 || packages="$packages libvulkan1"
[ -n "$packages" ] || exit 0
$sudo apt-get update -q || true
if ! apt-cache show chromium-headless-shell >/dev/null 2>&1; then
    packages=$(echo "$packages" | sed s/chromium-headless-shell/chromium/)
fi
# Only the binary of sshd is used: 101 forbids that the package starts its service.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod +x "$policy"
    trap '$sudo rm -f "$policy"' EXIT
fi
for package in $packages; do
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$package" ||
        echo "could not install $package: tests that need it are skipped"
done
