"""Detect the file system of a path, because SQLite's locks do not work on network file systems."""

from collections.abc import Iterable
from pathlib import Path, PurePath

import psutil

# Names of the types in the kernel; file systems in user space have the prefix `fuse.`. Their locks are missing or work
# on one machine only, and the shared memory that a write-ahead log needs is never shared.
_NETWORK = (
    "9p acfs afs beegfs beegfs_nodev ceph ceph-fuse cifs coda davfs davfs2 fhgfs gcsfuse glusterfs goofys gpfs "
    "juicefs kafs lustre lustre_lite mfs moosefs ncpfs nfs nfs4 orangefs panfs pvfs2 quobyte rclone s3fs smb2 "
    "smb3 smbfs smbnetfs sshfs weka wekafs"
)


def file_system(path: Path) -> str:
    """Return the type of the file system of an existing or new path; "" if the system does not report it."""
    try:
        mounts = [(PurePath(mount.mountpoint), mount.fstype) for mount in psutil.disk_partitions(all=True)]
    except OSError:
        return ""
    return mount_type(path.resolve(), mounts)


def mount_type(path: PurePath, mounts: Iterable[tuple[PurePath, str]]) -> str:
    """Return the type of the mount that contains an absolute path; "" for none.

    Args:
        path: absolute path.
        mounts: mount points and types in the order of mounting; the last one at a mount point hides the others.
    """
    holding = [(point, kind) for point, kind in mounts if path.is_relative_to(point)]
    _, kind = max(reversed(holding), key=lambda mount: len(mount[0].parts), default=(path, ""))
    return kind


def is_network(kind: str) -> bool:
    """Check whether a file system of this type is on another machine."""
    return kind.removeprefix("fuse.") in _NETWORK.split()
