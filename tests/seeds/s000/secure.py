from jetio import CrudRouter
CrudRouter(
    model=Post,
    secure=True,
    auth_dependency=auth.get_auth_dependency()
).register_routes(app)
