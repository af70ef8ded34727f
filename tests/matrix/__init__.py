"""The matrix of upstream behaviours: what the gateway makes of each, for every pair.

- ``formats``: an answer in the words of each upstream dialect, as data to be spoilt
- ``behaviours/``: what upstreams do, one function each, by the phase of the answer
- ``replies``: plays an HTTP response, valid or not, on a connection
- ``clients``: the requests of each client dialect, and strict readers of the answers
- ``gateway``: the gateway's own pipeline and connection pools, for one request at a time
- ``page``: the table of ``docs/reliability.md``, which is the expectation

A behaviour is declared once and tried with every client, every upstream dialect in which
it can occur, whole and streamed, with one target and with two.
"""
