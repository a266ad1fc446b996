"""A run: its configuration, its folder, how it is opened, checked and executed
headless.
"""
