"""The network on both sides, and the application between.

edge         listeners, accepting in bursts, ending gracefully
connection   HTTP/1.1 with one client: a reader and a worker
channel      what an HTTP response is made through, whoever carries it
responder    one exchange's answer, error or stream, as an HTTP response
gateway      from a request to its exchange through the pipeline
application  every endpoint, declared once (quart-trio)
upstream     connections to one provider (HTTP/1.1, pooled)
"""
