"""The contestants: the same small application, each written in one file and run as `<module>:app`.

Each reads DATABASE_URL (a SQLAlchemy URL with an async driver) and SECRET_KEY from the environment.
"""
