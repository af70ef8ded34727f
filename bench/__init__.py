"""Measures the gateway beside the obvious proxy: ``make bench``.

traffic    what is sent and answered, and the check of every answer
upstream   a process that answers at once, or event by event
load       a process that sends, and times and checks what comes back
baseline   the obvious proxy: quart-trio, hypercorn, httpx
cpu        the CPU time of a request alone: python -m bench.cpu
processes  starts them, each on its core; reads their CPU time and memory
scenarios  what is measured, in alternating rounds
report     the tables, and the floors that a run must reach
"""
