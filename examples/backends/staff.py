"""Who may come in: a table that knows nothing of jetio_auth."""

from __future__ import annotations

import bcrypt
from sqlalchemy import String, select
from sqlalchemy.orm import Mapped, mapped_column

from jetio import JetioModel, default_database


class Employee(JetioModel):
    class API:
        hidden = ("password_hash",)

    email: Mapped[str] = mapped_column(String(200), unique=True)
    password_hash: Mapped[str]
    is_admin: Mapped[bool] = mapped_column(default=False)

    @property
    def roles(self) -> list[str]:
        return ["admin"] if self.is_admin else ["viewer"]

    @property
    def permissions(self) -> list[str]:
        if self.is_admin:
            return ["models:read", "models:write", "models:delete"]
        return ["models:read"]


async def load_user(identifier: str | int) -> Employee | None:
    """An employee by id, or by email when somebody logs in."""
    wanted = Employee.id == identifier if isinstance(identifier, int) else Employee.email == identifier
    async with default_database().sessions() as session:
        return await session.scalar(select(Employee).where(wanted))


def verify_password(stored_hash: str, password: str) -> bool:
    """A plain function: it runs in a thread, for bcrypt takes its time. It reads 72 bytes, and no more."""
    return len(password.encode("utf-8")) <= 72 and bcrypt.checkpw(
        password.encode("utf-8"), stored_hash.encode("utf-8")
    )


async def hire(email: str, password: str, *, is_admin: bool = False) -> None:
    """Add an employee."""
    hashed = bcrypt.hashpw(password.encode("utf-8"), bcrypt.gensalt()).decode()
    async with default_database().sessions() as session:
        session.add(Employee(email=email, password_hash=hashed, is_admin=is_admin))
        await session.commit()
