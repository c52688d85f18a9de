async def init_db():
    async with AsyncSession(engine) as session:
        await auth.ensure_admin(
            db=session,
            username="admin",
            password="securePassword123",
            email="admin@jetio.org"
        )
