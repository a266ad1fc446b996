"""The stages of the main job: each reads the run's folder, does its work once, and
writes its results there.
"""
