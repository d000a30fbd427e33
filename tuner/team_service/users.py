"""Define who uses the service, and what each role may do."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Role of a token; each may do everything that the one before it may do."""

    READ = "read"
    """See studies."""
    SUBMIT = "submit"
    """Submit studies, and stop one's own."""
    ADMIN = "admin"
    """See and stop the studies of all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class User:
    """Holder of a valid token."""

    name: str
    role: Role

    @property
    def is_admin(self) -> bool:
        """True if the user may see and stop all studies."""
        return self.role == Role.ADMIN

    @property
    def may_submit(self) -> bool:
        """True if the user may submit studies."""
        return self.role in (Role.SUBMIT, Role.ADMIN)

    def may_see(self, owner: str | None, *, is_private: bool) -> bool:
        """Check whether the user may know of a study; its owner is None if nobody submitted it."""
        return self.is_admin or not is_private or owner == self.name

    def may_change(self, owner: str | None) -> bool:
        """Check whether the user may stop a study, or submit it again."""
        return self.is_admin or (self.may_submit and owner == self.name)
