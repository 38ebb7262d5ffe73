"""An ssh server of the tests' own on loopback: this machine as a board over ssh."""

import contextlib
import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVER = shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin") or ""


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[str, str]]:
    """(`ssh:user@127.0.0.1:port`, the client's settings file); skips where there is no sshd."""
    if not SERVER or shutil.which("ssh") is None:
        pytest.skip("needs an ssh client and server: see tests/simulators/setup.sh")
    folder.mkdir()
    for name in ("host", "user"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name]
        subprocess.run(key, check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nPasswordAuthentication no\n"
        "Subsystem sftp internal-sftp\n"
    )
    (folder / "ssh_config").write_text(
        f"Host *\n  IdentityFile {folder}/user\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder}/known\n  StrictHostKeyChecking accept-new\n"
    )
    if getpass.getuser() == "root":
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd separates its privileges
    process = subprocess.Popen(
        [SERVER, "-D", "-e", "-f", folder / "sshd_config"],
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            if process.poll() is not None:
                pytest.skip(f"sshd does not start: {process.stderr.read().decode()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield f"ssh:{getpass.getuser()}@127.0.0.1:{port}", str(folder / "ssh_config")
    finally:
        process.terminate()
        process.wait()
