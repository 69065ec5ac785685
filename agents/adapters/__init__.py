"""Adapters: the environments as other libraries take them. Each module needs its library."""
