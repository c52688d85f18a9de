# app.py
from jetio import Jetio, add_swagger_ui
from jetio_auth import AuthRouter
from models import User
# Create the Jetio application
app = Jetio(title="Jetio Blog")
# Optional but recommended: interactive API documentation at /docs
add_swagger_ui(app)
# Initialize authentication using the User model
auth = AuthRouter(user_model=User)
# Register authentication endpoints (/register, /login)
auth.register_routes(app)
# Register admin management endpoints (/admin/{id}/make-admin)
auth.register_admin_routes(app)
if __name__ == "__main__":
    app.run()
