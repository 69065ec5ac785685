"""How policies are trained. What a trainer stands on is imported when it is used."""
