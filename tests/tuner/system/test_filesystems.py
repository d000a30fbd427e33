"""Find the mount of a path, and recognise network file systems."""

import ast
import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from tuner.system.filesystems import file_system, is_network, mount_type

ROOT = Path(__file__).parents[3]
MOUNTS = [
    (PurePosixPath(point), kind)
    for point, kind in (
        ("/proc", "proc"),
        ("/", "ext4"),
        ("/home", "autofs"),
        ("/home", "nfs4"),
        ("/home/me/scratch", "xfs"),
        (r"/mnt/two words\x", "cifs"),
        ("/mnt/remote", "fuse.sshfs"),
        ("/mnt/stick", "fuseblk"),
    )
]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/var/tmp/study.db", "ext4"),
        ("/homer/study.db", "ext4"),
        ("/home/me/studies/s/study.db", "nfs4"),  # the last of two mounts at one point covers the other
        ("/home/me/scratch/study.db", "xfs"),
        ("/home/me/scratching/study.db", "nfs4"),
        (r"/mnt/two words\x/study.db", "cifs"),
        ("/mnt/remote/study.db", "fuse.sshfs"),
        ("/mnt/stick/study.db", "fuseblk"),
    ],
)
def test_the_longest_mount_point_above_a_path_decides(path, kind):
    assert mount_type(PurePosixPath(path), MOUNTS) == kind


def test_nothing_is_reported_without_mounts():
    assert mount_type(PurePosixPath("/x"), []) == ""


@pytest.mark.parametrize(
    "kind",
    ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "lustre", "gpfs", "beegfs", "ceph", "9p", "afs", "fuse.glusterfs"],
)
def test_network_file_systems_are_known(kind):
    assert is_network(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuseblk", "fuse.ntfs-3g", ""])
def test_local_file_systems_are_not_refused(kind):
    assert not is_network(kind)


STRANGE = ("two words", "ha#sh", "new\nline", "ta\tb", "back\\slash", "ümlaut", "bytes-\udcff")
MOUNTED = """
set -e
cd "$1" && shift
mkdir bound source && mount --bind source bound
mkdir covered && mount -t tmpfs none covered && mount -t ramfs none covered
for name in "$@"; do mkdir "$name" && mount -t tmpfs none "$name"; done
exec "$PYTHON" -c '
import sys
from pathlib import Path
from tuner.system.filesystems import file_system
print([file_system(Path.cwd() / name / "study.db") for name in sys.argv[1:]])
' bound covered "$@"
"""


def test_real_mounts_with_names_of_every_kind_are_found(tmp_path):
    alone = ["unshare", "-Urm"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system does not let a user mount a file system of his own (unshare -Urm)")
    command = [*alone, "sh", "-c", MOUNTED, "sh", str(tmp_path), *STRANGE]
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert ast.literal_eval(done.stdout) == [file_system(tmp_path), "ramfs", *["tmpfs"] * len(STRANGE)]


def test_the_file_system_of_this_machine_is_found_through_links(tmp_path):
    (tmp_path / "link").symlink_to("/proc/self")
    assert file_system(tmp_path / "link" / "status") == "proc"
    assert not is_network(file_system(Path("/proc")))
