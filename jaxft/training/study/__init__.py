"""A study: how long should the head train before the body is unfrozen?"""
