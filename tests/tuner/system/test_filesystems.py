"""Which mount holds a path, and which file systems are a network's."""

from pathlib import Path, PurePosixPath

import pytest

from tuner.system.filesystems import file_system, is_network, mount_type

MOUNTINFO = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 27 0:50 / /home rw,relatime shared:5 master:2 - autofs systemd-1 rw,fd=29
31 27 0:51 / /home rw,relatime shared:7 - nfs4 server:/home rw,vers=4.2
32 31 8:1 / /home/me/scratch rw - xfs /dev/sda1 rw
33 27 0:52 / /mnt/two\040words\134x rw - cifs //server/share rw
34 27 0:53 / /mnt/remote rw - fuse.sshfs me@host: rw
35 27 0:54 / /mnt/stick rw - fuseblk /dev/sdb1 rw
this line is none
""".strip()


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
    assert mount_type(PurePosixPath(path), MOUNTINFO) == kind


def test_without_mounts_nothing_is_said():
    assert mount_type(PurePosixPath("/x"), "") == ""


@pytest.mark.parametrize(
    "kind",
    ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "lustre", "gpfs", "beegfs", "ceph", "9p", "afs", "fuse.glusterfs"],
)
def test_network_file_systems_are_known(kind):
    assert is_network(kind)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuseblk", "fuse.ntfs-3g", ""])
def test_local_file_systems_are_not_refused(kind):
    assert not is_network(kind)


def test_the_file_system_of_this_machine_is_told_through_links(tmp_path):
    (tmp_path / "link").symlink_to("/proc/self")
    assert file_system(tmp_path / "link" / "status") == "proc"
    assert not is_network(file_system(Path("/proc")))
