"""The network on both sides, and the application between.

Towards clients:
edge                 listeners, accepting in bursts, ending gracefully
connection           HTTP/1.1 with one client: a reader and a worker
parser               strict requests out of bytes
response             one answer's header section and framing
client_wire          one client's socket, plain or through TLS
edge_asgi            a request through an ASGI application

What is asked for:
endpoints            the URLs that run the pipeline
gateway              from a request to its exchange through the pipeline
responder            one exchange's answer, error or stream, as an HTTP response
channel              what a response is made through, whoever carries it
application          every endpoint, declared once (quart-trio)
pages                who may see which page
quart_exchange       an exchange behind Quart

Towards upstreams:
upstreams            the connections to every provider, kept over reloads
upstream             the pool of one provider
upstream_connection  HTTP/1.1 with one upstream
response_parser      strict responses out of bytes
wire                 one upstream's socket
dial                 resolving, connecting, TLS
httpx_transport      where httpx and the pool meet
lone_cancelled       one cancellation as one exception
"""
