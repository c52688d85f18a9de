policy={
    "DELETE": auth.admin_only()
}
