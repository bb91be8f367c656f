"""Who is asking, and what they may do: principals, roles, keys, sessions, the door in front."""
