"""Which file system a path is on, as Linux tells it: SQLite's locks do not hold on those of a network."""

import re
from pathlib import Path, PurePath

_MOUNTINFO = Path("/proc/self/mountinfo")

# Types as the kernel names them; those in user space say `fuse.` before it. Their locks are missing, or are those of
# one machine alone, and the shared memory that a write-ahead log needs is never shared.
_NETWORK = (
    "9p acfs afs beegfs beegfs_nodev ceph ceph-fuse cifs coda davfs davfs2 fhgfs gcsfuse glusterfs goofys gpfs "
    "juicefs kafs lustre lustre_lite mfs moosefs ncpfs nfs nfs4 orangefs panfs pvfs2 quobyte rclone s3fs smb2 "
    "smb3 smbfs smbnetfs sshfs weka wekafs"
)


def file_system(path: Path) -> str:
    """The type of the file system that holds a path, or would if it were made; "" where the system does not say."""
    try:
        mountinfo = _MOUNTINFO.read_text(errors="surrogateescape")
    except OSError:
        return ""
    return mount_type(path.resolve(), mountinfo)


def mount_type(path: PurePath, mountinfo: str) -> str:
    """The type of the mount that holds an absolute path, by the text of /proc/self/mountinfo; "" for none.

    Of several mounts at one point the last covers the others.
    Format: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
    """
    best, depth = "", -1
    for line in mountinfo.split("\n"):  # a name may hold what else ends a line
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if not dash or len(fields) < 5:
            continue
        point = PurePath(_unescaped(fields[4]))
        if path.is_relative_to(point) and len(point.parts) >= depth:
            best, depth = after.split(" ")[0], len(point.parts)
    return best


def is_network(kind: str) -> bool:
    """Whether a file system of this type is on another machine."""
    return kind.removeprefix("fuse.") in _NETWORK.split()


def _unescaped(field: str) -> str:
    """Spaces, tabs, line ends and backslashes are written as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
