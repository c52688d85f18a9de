"""Two touch points: one call that sets accounts up, and RequireLogin where it is needed."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Mapped

from jetio import CrudRouter, Jetio, JetioModel, TenantMixin, add_swagger_ui, tenant_column
from jetio_auth import RequireLogin, setup_auth


class Order(JetioModel, TenantMixin):
    item: Mapped[str]
    company_id: Mapped[int] = tenant_column("company_id")


app = Jetio(title="Orders")
add_swagger_ui(app)
auth = setup_auth(app, extra_claims=lambda user: {"company_id": company_of(user.email)})

CrudRouter(Order, secure=True).register_routes(app)


def company_of(email: str) -> int:
    """In earnest a table would tell; here people of one mail domain are one company."""
    return sum(email.rpartition("@")[2].encode())


@app.get("/dashboard")
async def dashboard(user: RequireLogin) -> dict[str, Any]:
    """Who is calling."""
    return {"sub": user.sub, "is_admin": user.extra.get("is_admin")}


@app.get("/tenant-data")
async def tenant_data(user: RequireLogin) -> dict[str, Any]:
    """What the application has put into the token."""
    return {"company_id": user.extra.get("company_id"), "role": user.extra.get("role")}


@app.get("/notice")
async def notice(user: RequireLogin) -> dict[str, str]:
    """Declaring the caller is enough, although nothing is asked of it."""
    return {"notice": "The warehouse is closed on Monday"}
