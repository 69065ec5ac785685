"""The user that a language model reads for or speaks for: rubric, role-play, SAGE's protocol."""
