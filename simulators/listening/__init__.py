"""What a listener can hear in a user's words, and say back, from the words alone.

Nothing here knows the scenario, the need, the emotion or the trust: scripted policies and the replies of
EmpathyStrategy-v0 are made of it.
"""
