"""Find the file system that a path is on: SQLite's locks do not hold on those of a network."""

from collections.abc import Iterable
from pathlib import Path, PurePath

import psutil

# Types as the kernel names them; those in user space have `fuse.` before it. Their locks are missing, or are those of
# one machine alone, and the shared memory that a write-ahead log needs is never shared.
_NETWORK = (
    "9p acfs afs beegfs beegfs_nodev ceph ceph-fuse cifs coda davfs davfs2 fhgfs gcsfuse glusterfs goofys gpfs "
    "juicefs kafs lustre lustre_lite mfs moosefs ncpfs nfs nfs4 orangefs panfs pvfs2 quobyte rclone s3fs smb2 "
    "smb3 smbfs smbnetfs sshfs weka wekafs"
)


def file_system(path: Path) -> str:
    """Find the type of the file system that holds a path, or would hold it; "" if the system does not say."""
    try:
        mounts = [(PurePath(mount.mountpoint), mount.fstype) for mount in psutil.disk_partitions(all=True)]
    except OSError:
        return ""
    return mount_type(path.resolve(), mounts)


def mount_type(path: PurePath, mounts: Iterable[tuple[PurePath, str]]) -> str:
    """Find the type of the mount that holds an absolute path; "" for none.

    Args:
        mounts: mount points and types, in the order in which they were mounted: of several at one point, the last one
            covers the others.
    """
    holding = [(point, kind) for point, kind in mounts if path.is_relative_to(point)]
    _, kind = max(reversed(holding), key=lambda mount: len(mount[0].parts), default=(path, ""))
    return kind


def is_network(kind: str) -> bool:
    """Tell whether a file system of this type is on another machine."""
    return kind.removeprefix("fuse.") in _NETWORK.split()
