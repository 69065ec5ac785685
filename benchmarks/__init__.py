"""Running policies on suites of scenarios, and checking what comes out."""
