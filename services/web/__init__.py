"""What only HTTP needs: the guard, the native route, the application, its document."""
