"""The users: scenarios, perceivers, the rule, speakers and records."""
