"""Filling in masks: proposals of a pass, rules that choose among them, schedules, caches, and the loop over passes."""
