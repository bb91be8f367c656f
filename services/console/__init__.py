"""What people look at: pages without a build step and without a foreign host."""
