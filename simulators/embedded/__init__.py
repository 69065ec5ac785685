"""The embedded user: a perceiver and a speaker that need nothing but their data files."""
