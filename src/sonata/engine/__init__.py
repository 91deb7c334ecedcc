"""The workflow kernel: named steps over a frozen state, with retry, compensation and a timeline.

`definition` says what a workflow is, `runner` runs it, `timeline` tells what happened, `failure` why it failed.
"""
